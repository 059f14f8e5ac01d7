"""A model as llama.cpp reads it: ``model-TYPE.gguf`` and ``mmproj-TYPE.gguf`` in one folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gguf
import torch
from pydantic import field_validator

from tuwen.checkpoints.convert import refuse_existing
from tuwen.checkpoints.exporting import FORMATS, ExportFormat
from tuwen.checkpoints.folder import stored_state, written_whole
from tuwen.checkpoints.gguf.contents import TYPES, Contents, Value, write_gguf
from tuwen.checkpoints.gguf.language import architecture_of, language_rules, language_values
from tuwen.checkpoints.gguf.vision import ClassToken, vision_contents
from tuwen.checkpoints.gguf.vocabulary import vocabulary
from tuwen.checkpoints.layouts.base import Published
from tuwen.checkpoints.opening import in_our_names
from tuwen.checkpoints.refusal import blamed_on
from tuwen.config import StrictConfig, TuwenError, unknown_name

QUANTIZER = "llama-quantize"
# Types that llama.cpp's own program makes, without statistics of what runs through the model.
QUANTIZED = (
    "q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_k_s", "q4_k_m", "q5_0", "q5_k_s", "q5_k_m", "q6_k", "iq4_nl",
    "iq4_xs",
)  # fmt: skip
# The type that loses nothing, by that of the weights.
STORED = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}


class GgufSettings(StrictConfig):
    """Settings of ``export_gguf``.

    Attributes:
        type: of the language model's numbers: one of ``TYPES``, or one of ``QUANTIZED``. Those of the vision encoder
            and the projector are float16, or float32 with ``f32``.
        quantizer: llama.cpp's program for ``QUANTIZED``; looked for in PATH unless said.
        class_token: where the llama.cpp that will read the files puts an encoder's class token; ``last`` unless said,
            as all releases since May 2025 do.
    """

    type: str = "f16"
    quantizer: Path | None = None
    class_token: ClassToken | None = None

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in (*TYPES, *QUANTIZED):
            raise ValueError(unknown_name("type", value, [*TYPES, *QUANTIZED]))
        return value


def export_gguf(published: Published, out: Path, settings: GgufSettings) -> Sequence[str]:
    """Write both files.

    Args:
        published: from ``read_folder``: a Tuwen folder or a published layout's.
        out: the folder to write; it must not be there yet.
        settings: see there.

    Returns:
        where llama.cpp does otherwise than we do, a sentence each.

    Raises:
        TuwenError: naming the part of the model that llama.cpp does not have, or what it needs to be quantised;
            nothing is left then.
    """
    refuse_existing(out)
    source = published.files.folder
    with blamed_on(source):
        try:
            name = source.resolve().name
            vision, language = _vision(published, name, settings.class_token), _language(published, name)
        except TuwenError as error:
            raise TuwenError(f"{source}: {error}") from None
    kind = settings.type
    quantizer = _quantizer(settings) if kind in QUANTIZED else None
    weights, ours = in_our_names(published).files, stored_state(published.config)
    with written_whole(out) as folder:
        seen = "f32" if kind == "f32" else "f16"
        write_gguf(folder / f"mmproj-{seen}.gguf", vision, weights, ours, seen)
        if quantizer is None:
            write_gguf(folder / f"model-{kind}.gguf", language, weights, ours, kind)
        else:
            whole = folder / "whole.gguf"
            write_gguf(whole, language, weights, ours, STORED.get(published.dtype, "f32"))
            _quantize(quantizer, whole, folder / f"model-{kind}.gguf", kind)
            whole.unlink()
    return [*vision.notes, *language.notes]


FORMATS.register("gguf")(ExportFormat(GgufSettings, export_gguf))


def _language(published: Published, name: str) -> Contents:
    text = published.config.text_config
    words = vocabulary(published.processor, text.vocab_size, published.generation)
    return Contents(
        architecture=architecture_of(text).name,
        values={**_about("model", name), **language_values(text), **words.values},
        rules=language_rules(text, stored_state(published.config)),
        notes=words.notes,
    )


def _vision(published: Published, name: str, class_token: ClassToken | None) -> Contents:
    config = published.config
    contents = vision_contents(config, published.processor.policy, stored_state(config), class_token)
    if config.image_span is not None:
        raise TuwenError("image_span: llama.cpp puts a picture in place of one token; found Qwen-VL's span of two")
    return replace(contents, values={**_about("mmproj", f"{name} vision"), **contents.values})


def _about(kind: str, name: str) -> dict[str, Value]:
    return {gguf.Keys.General.TYPE: kind, gguf.Keys.General.NAME: name}


def _quantizer(settings: GgufSettings) -> str:
    """Where llama.cpp's program is; it must be there before the hours that the rest may take."""
    found = shutil.which(str(settings.quantizer or QUANTIZER))
    if found is None:
        place = f"{settings.quantizer} is no program that can be run" if settings.quantizer else "it is not in PATH"
        raise TuwenError(
            f"--type {settings.type}: llama.cpp's {QUANTIZER} makes this type, and {place}; give it with --quantizer, "
            f"or choose one of {', '.join(TYPES)}"
        )
    return found


def _quantize(program: str, whole: Path, out: Path, kind: str) -> None:
    command = [program, str(whole), str(out), kind.upper()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise TuwenError(f"{program}: cannot be run: {error.strerror}") from None
    if done.returncode or not out.is_file():
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise TuwenError(f"{program}: ended with {done.returncode}: {(lines or ['it said nothing'])[-1][:300]}")
