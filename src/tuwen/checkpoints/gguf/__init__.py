"""llama.cpp's files: a language model and, beside it, a vision encoder with its projector."""

from importlib.util import find_spec

from tuwen.config import MissingExtraError

if find_spec("gguf") is None:
    raise MissingExtraError("gguf", "gguf")
