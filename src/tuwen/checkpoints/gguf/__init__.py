"""llama.cpp's files: a language model and, beside it, a vision encoder with its projector."""

from tuwen.config import MissingExtraError

try:
    import gguf  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "gguf":
        raise
    raise MissingExtraError("gguf", "gguf") from None
