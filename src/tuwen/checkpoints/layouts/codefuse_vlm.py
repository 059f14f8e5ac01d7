"""CodeFuse-VLM-14B (github.com/codefuse-ai/CodeFuse-MFT-VLM): Qwen-VL's parts in three folders, or merged into one.

As published, the language model lies in the folder itself, the vision encoder and the resampler in a folder each. The
original's merging script writes all of them into one, which says neither heads nor picture size of the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tuwen.checkpoints.layouts._qwen import (
    Settings,
    check_expressible,
    composition,
    language_config,
    language_rules,
    language_values,
    resampler_rules,
    vision_config,
    vision_rules,
    vision_values,
)
from tuwen.checkpoints.layouts._qwen_files import (
    OPTIONS,
    VisionOptions,
    dtype_of,
    generation_of,
    ignored,
    kept_files,
    kept_json,
    kept_names,
    outgoing,
    processor_of,
    read_options,
    settled,
    small_files,
    special_ids,
    stored_config,
    tokenizer_of,
)
from tuwen.checkpoints.layouts.base import LAYOUTS, Layout, Outgoing, Published
from tuwen.checkpoints.layouts.qwen_vl import ARCHITECTURE, FRESH_GENERATION, fresh_values
from tuwen.checkpoints.refusal import check_sizes
from tuwen.checkpoints.renames import Rule
from tuwen.checkpoints.weights import WeightFiles, read_json
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.encoders.qwen_vit import QwenViTConfig
from tuwen.models.language.tiktoken import END_OF_TEXT, IMAGE_START
from tuwen.models.processing import TuwenProcessor

MERGED = "LlavaQWenForCausalLM"
VISION_FOLDER, PROJECTOR_FOLDER = "Qwen-VL-visual", "mm_projector"
VISION_CONFIG, VISION_WEIGHTS = f"{VISION_FOLDER}/visual_config.json", f"{VISION_FOLDER}/visual.bin"
PROJECTOR_CONFIG, PROJECTOR_WEIGHTS = f"{PROJECTOR_FOLDER}/config.json", f"{PROJECTOR_FOLDER}/mm_projector.bin"
MERGED_VISION = "transformer.vision_tower.vision_tower."
PROJECTOR = "transformer.mm_projector."
OLDER_LABEL = "Picture N:"
# A published visual_config.json says so, and means nothing by it.
OUTPUT_DIM = 4096
# The encoder of Qwen-VL, which a merged folder is taken to have.
USUAL = {"heads": 16, "image_size": 448}
USUAL_SIZES = {"layers": 48, "mlp_width": 8192, "patch_size": 14, "width": 1664}


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What stands before the names of each part's weights.

    Attributes:
        vision: of the encoder; nothing where it has a file of its own.
        projector: of the resampler; longer in what a LoRA stage saved.
    """

    vision: str = ""
    projector: str = PROJECTOR

    @classmethod
    def of(cls, names: Iterable[str]) -> Prefixes:
        """Those of a folder's weights; as published where it has none."""
        listed = list(names)
        merged = any(name.startswith(MERGED_VISION) for name in listed)
        found = (name.partition("mm_projector.") for name in listed if "mm_projector." in name)
        before = next((start + word for start, word, _ in found), PROJECTOR)
        return cls(MERGED_VISION if merged else "", before)


@LAYOUTS.register("codefuse-vlm")
class CodeFuseVLM(Layout):
    """Folders of CodeFuse-VLM, in parts or merged."""

    name: ClassVar[str] = "codefuse-vlm"
    title: ClassVar[str] = "CodeFuse-VLM-14B, as published or merged"

    def recognises(self, folder: Path) -> bool:
        """Merged, by ``architectures`` in ``config.json``; in parts, by ``model_type`` and the two folders' names."""
        values = stored_config(folder)
        if values is None:
            return False
        named = values.get("architectures") or []
        if MERGED in named:
            return True
        parts = any((folder / name).is_dir() for name in (VISION_FOLDER, PROJECTOR_FOLDER))
        return ARCHITECTURE in named and "visual" not in values and parts

    def read(self, folder: Path) -> Published:
        """See ``Layout.read``; ``tuwen_layout.json`` may say what a merged folder does not."""
        path, options = folder / "config.json", read_options(folder)
        settings = Settings(path, read_json(path))
        tokenizer = tokenizer_of(folder)
        special = special_ids(tokenizer, settings)
        weights = [WeightFiles.find(folder)]
        if MERGED in settings.values["architectures"]:
            settings.only("mm_projector_type", "cross_attn")
            # Whoever copies the encoder's own settings beside the merged weights need write nothing else.
            own = (folder / VISION_CONFIG).is_file() and options.vision == VisionOptions()
            vision = (
                _own_vision(folder, special[IMAGE_START], len(weights[0]))
                if own
                else _merged_vision(weights[0], options.vision)
            )
        else:
            weights += [WeightFiles(folder, [name]) for name in (VISION_WEIGHTS, PROJECTOR_WEIGHTS)]
            vision = _own_vision(folder, special[IMAGE_START], len(weights[1]))
        check_sizes(settings.values, sum(map(len, weights)), path)
        dtype = dtype_of(weights)
        config = composition(language_config(settings, special[END_OF_TEXT]), vision, special, dtype)
        files = sum(weights[1:], start=weights[0])
        return Published(
            layout=self.name,
            config=config,
            processor=processor_of(tokenizer, config, options, OLDER_LABEL, path_bytes=False),
            generation=generation_of(folder, special),
            files=files,
            rules=_rules(config, Prefixes.of(files)),
            dtype=dtype,
            ignored=ignored,
            keep=kept_files(folder, weights),
        )

    def write(self, config: TuwenConfig, processor: TuwenProcessor, keep: Mapping[str, bytes]) -> Outgoing:
        """See ``Layout.write``; a model made elsewhere is written in parts, a file each."""
        check_expressible(config, processor, self.name)
        text, vision = config.text_config, config.vision_config
        prefixes = Prefixes.of(kept_names(keep))
        language, mixed = language_values(text), {"mm_hidden_size": vision.hidden_size}
        end = {"eos_token_id": text.eos_token_id, "pad_token_id": text.eos_token_id}
        files = small_files(processor, {**FRESH_GENERATION, **end}, keep)
        if prefixes.vision:
            files["config.json"] = settled(keep, "config.json", {**language, **mixed}, {})
        else:
            fresh = fresh_values(config)
            image_start = processor.tokenizer.convert_tokens_to_ids(IMAGE_START)
            old = kept_json(keep, VISION_CONFIG)
            values = vision_values(vision, old, image_start, old.get("output_dim", OUTPUT_DIM))
            files["config.json"] = settled(keep, "config.json", language, fresh)
            files[VISION_CONFIG] = settled(keep, VISION_CONFIG, values, {})
            files[PROJECTOR_CONFIG] = settled(
                keep, PROJECTOR_CONFIG, {**language, **mixed}, {**fresh, **_projector_values()}
            )
        rules = _rules(config, prefixes)
        return outgoing(rules, files, keep, {name: _file(name) for rule in rules for name in rule.theirs})


def _rules(config: TuwenConfig, prefixes: Prefixes) -> list[Rule]:
    return [
        *language_rules(config.text_config.num_hidden_layers),
        *vision_rules(config.vision_config, prefixes.vision),
        *resampler_rules(config, prefixes.projector),
    ]


def _file(name: str) -> str:
    """Where a weight of a model that was made elsewhere goes."""
    if name.startswith(PROJECTOR):
        return PROJECTOR_WEIGHTS
    language = name == "lm_head.weight" or name.startswith(("transformer.wte.", "transformer.h.", "transformer.ln_f."))
    return "pytorch_model.bin" if language else VISION_WEIGHTS


def _projector_values() -> dict[str, Any]:
    return {
        "mm_projector_type": "cross_attn",
        "mm_vision_select_feature": "patch",
        # Written by the original and not looked at: the last layer's features are used.
        "mm_vision_select_layer": -2,
        "mm_vision_tower": VISION_FOLDER,
        "model_type": "llava_qwen",
        "use_mm_proj": True,
    }


def _own_vision(folder: Path, image_start: int, weights: int) -> QwenViTConfig:
    path = folder / VISION_CONFIG
    settings = Settings(path, read_json(path))
    check_sizes(settings.values, weights, path)
    if settings.integer("image_start_id") != image_start:
        raise settings.wrong("image_start_id", f"{image_start}, the id of {IMAGE_START}")
    return vision_config(settings)


def _merged_vision(files: WeightFiles, options: VisionOptions) -> QwenViTConfig:
    """The encoder of a merged folder: sizes from its weights, the rest as in Qwen-VL or as the user says."""
    sizes = _sizes(files)
    said = {name: value for name, value in options.model_dump().items() if value is not None}
    missing = [name for name in USUAL if name not in said]
    advice = f'write {{"vision": {{"heads": …, "image_size": …}}}} with the true numbers to {files.folder / OPTIONS}'
    if missing and sizes != USUAL_SIZES:
        raise TuwenError(
            f"{files.folder}: its vision encoder has {_listed(sizes)}, not {_listed(USUAL_SIZES)} as Qwen-VL's, and a "
            f"merged folder does not say its {' and '.join(missing)}: {advice}"
        )
    chosen = {**USUAL, **said}
    if sizes["width"] % chosen["heads"]:
        raise TuwenError(f"{files.folder}: {chosen['heads']} heads do not divide the width {sizes['width']}: {advice}")
    return QwenViTConfig(
        image_size=chosen["image_size"],
        patch_size=sizes["patch_size"],
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=chosen["heads"],
        intermediate_size=sizes["mlp_width"],
    )


def _sizes(files: WeightFiles) -> dict[str, int]:
    first, inner = f"{MERGED_VISION}conv1.weight", f"{MERGED_VISION}transformer.resblocks.0.mlp.c_fc.weight"
    for name in (first, inner):
        if name not in files:
            raise TuwenError(f"{files.folder}: 1 weight is ({name}) missing: a merged folder holds the vision encoder")
    blocks = re.compile(rf"{re.escape(MERGED_VISION)}transformer\.resblocks\.(\d+)\.")
    numbers = {int(found[1]) for name in files if (found := blocks.match(name))}
    width, _, patch, _ = files.shape(first)
    return {"layers": max(numbers) + 1, "mlp_width": files.shape(inner)[0], "patch_size": patch, "width": width}


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sizes.items())
