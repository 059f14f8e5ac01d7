"""Opening a model by its folder, whatever kind it is."""

from __future__ import annotations

from pathlib import Path

import torch

from tuwen.checkpoints.opening import is_known, load_published, open_model, read_parts
from tuwen.config import TuwenError
from tuwen.infer.native import load_native, serves
from tuwen.infer.quantise import quantise
from tuwen.infer.spreading import spread
from tuwen.infer.vlm import VLM, Chatter


def parse_dtype(name: str) -> torch.dtype:
    """A type of weights by its name.

    Raises:
        TuwenError: for a name that is none of float32, bfloat16 and float16.
    """
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in types:
        raise TuwenError(f"dtype {name!r}: choose one of {', '.join(types)}")
    return types[name]


def parse_device(name: str | None) -> torch.device:
    """A device by its name; a GPU where there is one for None.

    Raises:
        TuwenError: for a name that is no device, and a GPU where there is none.
    """
    chosen = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(chosen)
    except RuntimeError:
        raise TuwenError(f"device {chosen!r}: expected cpu, cuda, cuda:NUMBER or auto") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise TuwenError(f"device {chosen!r}: no GPU is to be had here; choose cpu")
    return place


def load(
    path: str | Path,
    *,
    adapter: str | Path | None = None,
    language: str | Path | None = None,
    vision: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    quantize: str | None = None,
) -> Chatter:
    """Open a model, ready to chat: a Tuwen folder, a published one, a base with an adapter, or any of `transformers`.

    Args:
        path: the folder; with ``language`` and ``vision``, that of a delta on them.
        adapter: a LoRA adapter, or what `tuwen delta` wrote, that was trained on the model in ``path``.
        language: folder of the language model that a delta (VisualCLA) was trained on.
        vision: folder of its vision encoder.
        device: e.g. ``cpu`` or ``cuda:0``; a GPU where there is one unless said. ``auto`` is all GPUs, for models that
            are larger than one.
        dtype: ``float32``, ``bfloat16`` or ``float16``; unless said, as stored on a GPU, and ``float32`` on a CPU,
            most of which compute nothing faster than that.
        quantize: ``int8`` and ``int4`` keep the language model's weights in so many bits.

    Raises:
        TuwenError: when the folder is not a model, or device or dtype is not to be had.
    """
    # Over several devices it goes from the processor's memory, which holds all of it.
    several = device == "auto" and torch.cuda.device_count() > 1
    place = torch.device("cpu") if several else parse_device(None if device == "auto" else device)
    chosen = torch.float32 if place.type == "cpu" and not several else None
    if dtype is not None:
        chosen = parse_dtype(dtype)
    if (language is None) != (vision is None) or (adapter is not None and language is not None):
        raise TuwenError("give language and vision together, for a delta in path, and no adapter beside them")
    folder = Path(path)
    opened: Chatter
    if language is not None and vision is not None:
        opened = VLM(load_published(read_parts(folder, Path(language), Path(vision)), place, chosen))
    elif adapter is None and not is_known(folder) and serves(folder):
        opened = load_native(folder, place, chosen)
    else:
        opened = VLM(open_model(folder, place, chosen, adapter=Path(adapter) if adapter is not None else None))
    if quantize is not None:
        quantise(opened.model.get_decoder(), quantize)
    if several:
        spread(opened.model)
    return opened
