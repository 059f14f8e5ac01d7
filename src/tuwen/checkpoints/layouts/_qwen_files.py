"""The small files of folders of the Qwen-VL family: tokenizer, prompt, generation defaults, what is written back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator
from transformers import GenerationConfig

from tuwen.chat.templates import load_template
from tuwen.checkpoints.layouts._qwen import PLACES, Settings, square_policy
from tuwen.checkpoints.layouts.base import Outgoing
from tuwen.checkpoints.renames import Rule
from tuwen.checkpoints.weights import SAFETENSORS_TYPES, WeightFiles, read_json
from tuwen.config import StrictConfig, parse_config
from tuwen.models.configuration import TuwenConfig
from tuwen.models.language.tiktoken import (
    CHAT_TOKENS,
    END_OF_TEXT,
    GROUNDING_TOKENS,
    IMAGE_PAD,
    IMAGE_TOKENS,
    SPECIAL_TOKENS,
    read_ranks,
    tiktoken_tokenizer,
    tokenizer_ranks,
    write_ranks,
)
from tuwen.models.processing import TuwenImageProcessor, TuwenProcessor

RANKS = "qwen.tiktoken"
# What a user may write beside config.json, for what a published folder does not say.
OPTIONS = "tuwen_layout.json"
# Which weight lies in which file and how its numbers are stored; kept beside the files, and not one of them.
WEIGHT_MAP = "weight_map"
KEPT_SUFFIXES = (".cpp", ".cu", ".json", ".md", ".py", ".tiktoken", ".txt")
LARGEST_KEPT = 16 * 2**20
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in SAFETENSORS_TYPES.values()}
# As in Qwen-VL-Chat; top_k 0 is off.
GENERATION = {"do_sample": True, "top_p": 0.3, "top_k": 0, "max_new_tokens": 512}
NEWER_LABEL = "Picture N: "


class VisionOptions(StrictConfig):
    """What a merged CodeFuse-VLM folder does not say of its vision encoder.

    Attributes:
        heads: attention heads.
        image_size: height and width of a picture, in pixels.
    """

    heads: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)


class LayoutOptions(StrictConfig):
    """Content of ``tuwen_layout.json``.

    Attributes:
        vision: of the vision encoder.
        picture_label: what stands before each picture, ``N`` for its number in its message; empty for nothing.
    """

    vision: VisionOptions = VisionOptions()
    picture_label: str | None = None

    @field_validator("picture_label")
    @classmethod
    def _one_number(cls, value: str | None) -> str | None:
        if value is not None and value.count("N") > 1:
            raise ValueError(f"{value!r} has more than one N, which stands for the picture's number")
        return value


def read_options(folder: Path) -> LayoutOptions:
    """``tuwen_layout.json``, or its defaults where there is none."""
    path = folder / OPTIONS
    return parse_config(LayoutOptions, read_json(path), str(path)) if path.is_file() else LayoutOptions()


def stored_config(folder: Path) -> dict[str, Any] | None:
    """``config.json`` of a Qwen-1 model; None when there is none or it is of another kind."""
    if not (folder / "config.json").is_file():
        return None
    values = read_json(folder / "config.json")
    return values if values.get("model_type") == "qwen" else None


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of ``qwen.tiktoken``."""
    path = folder / "tokenizer_config.json"
    longest = read_json(path).get("model_max_length") if path.is_file() else None
    settings = {"model_max_length": longest} if isinstance(longest, int) else {}
    return tiktoken_tokenizer(read_ranks(folder / RANKS), **settings)


def special_ids(tokenizer: Any, vocabulary: Settings) -> dict[str, int]:
    """Ids of the special tokens.

    Raises:
        TuwenError: when the vocabulary of ``config.json`` has no rows for them.
    """
    ids = dict(zip(SPECIAL_TOKENS, tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)), strict=True))
    if vocabulary.integer("vocab_size") <= max(ids.values()):
        raise vocabulary.wrong(
            "vocab_size", f"at least {max(ids.values()) + 1}, the entries of {RANKS} with {IMAGE_PAD}"
        )
    return ids


def processor_of(
    tokenizer: Any, config: TuwenConfig, options: LayoutOptions, label: str, *, path_bytes: bool
) -> TuwenProcessor:
    """Tokenizer, ChatML with pictures, and the square policy.

    Args:
        tokenizer: of ``tokenizer_of``.
        config: of the model.
        options: of the user.
        label: what stands before each picture where the user does not say it.
        path_bytes: whether a picture's places hold its path, or nothing.
    """
    label = label if options.picture_label is None else options.picture_label
    template = load_template("qwen_vl").jinja
    if label != NEWER_LABEL:
        said = json.dumps(label, ensure_ascii=False)
        template = f"{{%- set picture_label = picture_label | default({said}) -%}}\n{template}"
    return TuwenProcessor(
        TuwenImageProcessor(square_policy(config.vision_config.image_size).to_dict()),
        tokenizer,
        template,
        tokens_per_tile=PLACES,
        image_token=IMAGE_PAD,
        text_tokens=GROUNDING_TOKENS,
        image_path_bytes=path_bytes,
    )


def generation_of(folder: Path, special: Mapping[str, int]) -> dict[str, Any]:
    """Generation defaults: those of the folder, and the stop words of the original's chat."""
    path = folder / "generation_config.json"
    known = set(GenerationConfig().to_dict())
    stored = {name: value for name, value in (read_json(path) if path.is_file() else {}).items() if name in known}
    stored.pop("transformers_version", None)
    return {
        **GENERATION,
        **stored,
        "eos_token_id": [special[token] for token in (*reversed(CHAT_TOKENS), END_OF_TEXT)],
        "pad_token_id": special[END_OF_TEXT],
        # No picture could follow them; the original cannot even decode such an answer.
        "suppress_tokens": [special[token] for token in IMAGE_TOKENS],
    }


def ignored(name: str) -> bool:
    """Tables that old versions of the original stored and all versions compute."""
    return name.endswith(("rotary_emb.inv_freq", "attn.masked_bias"))


def kept_files(folder: Path, weights: Sequence[WeightFiles]) -> dict[str, bytes]:
    """Small files of a folder, and where its weights are.

    Args:
        folder: the folder.
        weights: its weight files.
    """
    top = [path for path in folder.iterdir() if path.suffix in KEPT_SUFFIXES or path.name.startswith("LICENSE")]
    below = [path for name in ("Qwen-VL-visual", "mm_projector") for path in (folder / name).glob("*.json")]
    keep = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(top + below)
        if path.is_file() and path.stat().st_size <= LARGEST_KEPT
    }
    files = {name: part.file(name) for part in weights for name in part if not ignored(name)}
    dtypes = {part.file(name): str(part.dtype(name)).removeprefix("torch.") for part in weights for name in part}
    return {**keep, WEIGHT_MAP: json.dumps({"files": files, "dtypes": dtypes}).encode()}


def dtype_of(weights: Iterable[WeightFiles]) -> torch.dtype:
    """The type of all numbers; fp32, which holds all of them, where files differ."""
    found = {part.dtype(name) for part in weights for name in part}
    return found.pop() if len(found) == 1 else torch.float32


def kept_names(keep: Mapping[str, bytes]) -> list[str]:
    """Names of the weights of the folder that a model came from."""
    return list(json.loads(keep[WEIGHT_MAP])["files"]) if WEIGHT_MAP in keep else []


def kept_json(keep: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """A JSON file of the folder that a model came from; empty where there was none."""
    values: dict[str, Any] = json.loads(keep[name]) if name in keep else {}
    return values


def outgoing(
    rules: Sequence[Rule], files: Mapping[str, bytes], keep: Mapping[str, bytes], fresh: Mapping[str, str]
) -> Outgoing:
    """The folder to write.

    Args:
        rules: all of them.
        files: small files that say what the model is; others are taken from ``keep``.
        keep: of the folder that the model came from.
        fresh: where weights go that came from elsewhere.
    """
    if WEIGHT_MAP not in keep:
        return Outgoing(rules=rules, files=files, weight_map=fresh)
    stored = json.loads(keep[WEIGHT_MAP])
    others = {name: content for name, content in keep.items() if name != WEIGHT_MAP}
    dtypes = {file: DTYPES[name] for file, name in stored["dtypes"].items()}
    return Outgoing(rules=rules, files={**others, **files}, weight_map=stored["files"], dtypes=dtypes)


def settled(keep: Mapping[str, bytes], name: str, values: Mapping[str, Any], fresh: Mapping[str, Any]) -> bytes:
    """A JSON file that says ``values``: as it was, where it says them already.

    Args:
        keep: of the folder that the model came from.
        name: of the file.
        values: what it has to say.
        fresh: what else it says where there was no such file.
    """
    old = kept_json(keep, name)
    if old and all(old.get(key) == value for key, value in values.items()):
        return keep[name]
    merged = {**(old or fresh), **values}
    return (json.dumps(dict(sorted(merged.items())), ensure_ascii=False, indent=2) + "\n").encode()


def small_files(
    processor: TuwenProcessor, generation: Mapping[str, Any], keep: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Tokenizer files and generation defaults.

    Args:
        processor: whose tokenizer is written.
        generation: what ``generation_config.json`` says where there was none.
        keep: of the folder that the model came from.
    """
    fresh = {
        "generation_config.json": generation,
        "tokenizer_config.json": {
            "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
            "model_max_length": 8192,
            "tokenizer_class": "QWenTokenizer",
        },
    }
    files = {name: settled({}, name, values, {}) for name, values in fresh.items() if name not in keep}
    return {**files, RANKS: write_ranks(tokenizer_ranks(processor.tokenizer))}
