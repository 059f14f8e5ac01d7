"""Image processors of `transformers`, as their ``preprocessor_config.json`` describes them, as our image policies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuwen.checkpoints.weights import read_json
from tuwen.config import TuwenError
from tuwen.vision import ImagePolicy, parse_policy
from tuwen.vision.policy import CLIP_MEAN, CLIP_STD

BYTE = 255.0
# Numbers of Pillow's filters, which the files use.
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
HALVES = (0.5, 0.5, 0.5)
# What each kind of image processor does where its file is silent; the one file of old times says the kind less exactly.
_CLIP: dict[str, Any] = {
    "do_center_crop": True,
    "resample": 3,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "size": 224,
    "crop_size": 224,
}
_WHOLE: dict[str, Any] = {
    "do_center_crop": False,
    "resample": 3,
    "image_mean": HALVES,
    "image_std": HALVES,
    "size": {"height": 224, "width": 224},
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": _CLIP,
    "ChineseCLIP": _CLIP,
    "Llava": _CLIP,
    "Siglip": _WHOLE,
    "ViT": {**_WHOLE, "resample": 2},
    "Blip": {**_WHOLE, "image_mean": CLIP_MEAN, "image_std": CLIP_STD, "size": {"height": 384, "width": 384}},
}
# The same processor is published under several class names.
ENDINGS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")


def policy_from_preprocessor(path: Path) -> ImagePolicy:
    """The image policy of a file that an image processor of `transformers` was saved in.

    Three ways of making a picture square are known: squashing it (``size`` with height and width), the middle of it
    (``size`` with ``shortest_edge``, or a bare number, and a crop) and padding it (``do_pad``).

    Args:
        path: ``preprocessor_config.json``, or a ``processor_config.json`` with an ``image_processor`` in it.

    Raises:
        TuwenError: naming the file and the key of what no image policy can do.
    """
    stored = read_json(path)
    if isinstance(stored.get("image_processor"), dict):
        stored = stored["image_processor"]
    defaults = _defaults(stored, path)
    values = {**defaults, **{key: value for key, value in stored.items() if value is not None}}
    if isinstance(values["size"], int) and isinstance(defaults["size"], Mapping):
        # Where the whole picture is taken, a bare number means both sides.
        values["size"] = {"height": values["size"], "width": values["size"]}
    if not values.get("do_resize", True):
        raise TuwenError(f"{path}: do_resize: found false; pictures of any size need it true")
    kind, sizes = _shape(values, path)
    # All these processors came with code that converts pictures to RGB, which drops what is transparent.
    return parse_policy({"type": kind, "transparency": "drop", **sizes, **_numbers(values, path)}, str(path))


def _defaults(stored: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Of the kind of image processor; a file that names none has to be complete for CLIP's to do no harm."""
    name = stored.get("image_processor_type") or stored.get("feature_extractor_type")
    if name is None:
        return _CLIP
    ending = next((ending for ending in ENDINGS if str(name).endswith(ending)), "")
    kind = str(name).removesuffix(ending) if ending else str(name)
    if kind not in DEFAULTS:
        known = ", ".join(f"{known}ImageProcessor" for known in DEFAULTS)
        raise TuwenError(f"{path}: image_processor_type: found {name!r}; choose one of {known}")
    return DEFAULTS[kind]


def _shape(values: Mapping[str, Any], path: Path) -> tuple[str, dict[str, int]]:
    """Name and sizes of the policy."""
    size = values["size"]
    if isinstance(size, Mapping) and "shortest_edge" not in size:
        side = _square(size, "size", path)
        if values["do_center_crop"] and _square(values["crop_size"], "crop_size", path) != side:
            raise TuwenError(f"{path}: crop_size: found {values['crop_size']}; expected {side}, as size says")
        kind = "pad_square" if values.get("do_pad") else "square"
        return kind, {"size": side}
    shortest = size["shortest_edge"] if isinstance(size, Mapping) else size
    if not isinstance(shortest, int) or shortest < 1:
        raise TuwenError(f"{path}: size: found {size!r}; expected a number of pixels")
    crop = _square(values.get("crop_size", shortest), "crop_size", path) if values["do_center_crop"] else None
    if values.get("do_pad"):
        if crop not in (None, shortest):
            raise TuwenError(f"{path}: crop_size: found {crop}; a padded picture is not cropped, expected {shortest}")
        return "pad_square", {"size": shortest}
    if crop is None:
        raise TuwenError(f"{path}: do_center_crop: found false; with a shortest edge only a crop makes pictures square")
    return "center_crop", {"size": shortest, "crop_size": crop}


def _square(size: Any, key: str, path: Path) -> int:
    """The side of a square that is written as a number or as height and width."""
    height, width = (size.get("height"), size.get("width")) if isinstance(size, Mapping) else (size, size)
    if not isinstance(height, int) or height != width or height < 1:
        raise TuwenError(f"{path}: {key}: found {size!r}; expected the same height and width, in pixels")
    return height


def _numbers(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Filter, mean and deviation; a policy's are of pictures in 0–1, so another scale goes into them."""
    scale = BYTE * float(values.get("rescale_factor", 1 / BYTE)) if values.get("do_rescale", True) else BYTE
    normalise = values.get("do_normalize", True)
    mean = values["image_mean"] if normalise else (0.0, 0.0, 0.0)
    std = values["image_std"] if normalise else (1.0, 1.0, 1.0)
    for key, found in (("image_mean", mean), ("image_std", std)):
        if not isinstance(found, list | tuple) or len(found) != 3:
            raise TuwenError(f"{path}: {key}: found {found!r}; expected three numbers, one a channel")
    if values["resample"] not in FILTERS:
        known = ", ".join(f"{number} ({name})" for number, name in FILTERS.items())
        raise TuwenError(f"{path}: resample: found {values['resample']!r}; choose one of {known}")
    if abs(scale - 1) < 1e-9:
        # 1/255 written in decimals is meant to be 1/255.
        scale = 1.0
    return {
        "resample": FILTERS[values["resample"]],
        "mean": [value / scale for value in mean],
        "std": [value / scale for value in std],
    }


def preprocessor_from_policy(policy: ImagePolicy) -> dict[str, Any]:
    """What ``preprocessor_config.json`` has to hold for `transformers` to do what ``policy`` does.

    Raises:
        TuwenError: for a policy that cuts a picture into tiles.
    """
    values = policy.to_dict()
    kind, size = values.pop("type"), values.pop("size", None)
    crop = values.pop("crop_size", None) or size
    if kind not in ("square", "center_crop", "pad_square"):
        raise TuwenError(f"image_policy: {kind} cannot be written for one tile a picture; choose square or pad_square")
    side = {"height": size, "width": size}
    return {
        "image_processor_type": "LlavaImageProcessor" if kind == "pad_square" else "CLIPImageProcessor",
        "crop_size": {"height": crop, "width": crop},
        "do_center_crop": kind == "center_crop",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_pad": kind == "pad_square",
        "do_rescale": True,
        "do_resize": True,
        "image_mean": values["mean"],
        "image_std": values["std"],
        "resample": next(number for number, name in FILTERS.items() if name == values["resample"]),
        "rescale_factor": 1 / BYTE,
        "size": {"shortest_edge": size} if kind == "center_crop" else side,
    }
