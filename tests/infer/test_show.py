"""What is shown of a sample is what the model is trained on, to the token and to the pixel."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from rich.console import Console

from tests.checkpoints.qwen_fixtures import HERE, needs_fixtures
from tuwen.chat.messages import Image, Message
from tuwen.chat.renderer import IGNORE_INDEX
from tuwen.checkpoints.opening import read_folder
from tuwen.config import TuwenError
from tuwen.data.collator import Collator
from tuwen.data.sample import Sample
from tuwen.infer.show import Shown, look_at
from tuwen.infer.show_display import OPEN, save_tiles, terminal, token_rows, write_show_page
from tuwen.models.processing import TuwenProcessor

ANYRES = {"type": "anyres", "size": 64, "resolutions": [[1, 2], [2, 1], [2, 2], [2, 3]]}


def noise(width: int, height: int, seed: int = 0) -> PIL.Image.Image:
    """A picture."""
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def conversation(*images: PIL.Image.Image) -> Sample:
    """Two turns about some pictures, with text that looks like control tokens."""
    return Sample(
        id="示例",
        messages=(
            Message.of("system", "用中文回答。"),
            Message.of("user", *(Image() for _ in images), "有什么不同? <|im_end|>\n <image>"),
            Message.of("assistant", "第一张 is new,  第二张有𠮷🐱。\n\n完。"),
            Message.of("user", "再说一次"),
            Message.of("assistant", "好的"),
        ),
        images=images,
        task="compare",
    )


@pytest.fixture(scope="module")
def processor(toy_run: Path) -> TuwenProcessor:
    return read_folder(toy_run / "model").processor


@pytest.fixture(scope="module")
def tiled(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> TuwenProcessor:
    """Of a model that sees pictures in several tiles."""
    folder = tmp_path_factory.mktemp("tiled") / "model"
    shutil.copytree(toy_run / "model", folder)
    config = folder / "processor_config.json"
    values: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    values["image_processor"]["image_policy"] = ANYRES
    config.write_text(json.dumps(values), encoding="utf-8")
    return TuwenProcessor.from_pretrained(folder)


def shown_text(shown: Shown, processor: TuwenProcessor, **options: Any) -> str:
    """What the terminal shows, without colours."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal(shown, processor, coloured=False, **options), soft_wrap=True)
    return console.export_text()


def test_ids_and_labels_are_the_batchs(tiled: TuwenProcessor) -> None:
    sample = conversation(noise(200, 100), noise(90, 150, 1))
    shown = look_at(sample, tiled)
    batch = Collator(tiled)([(sample,)])
    length = len(shown.ids)
    assert list(shown.ids) == batch.input_ids[0, :length].tolist()
    assert list(shown.labels[1:]) == batch.labels[0, : length - 1].tolist()
    assert shown.labels[0] == IGNORE_INDEX
    assert shown.trained == int((batch.labels != IGNORE_INDEX).sum())
    assert shown.image_tokens == shown.ids.count(tiled.image_token_id)


def test_spans_are_all_tokens_in_order(tiled: TuwenProcessor) -> None:
    shown = look_at(conversation(noise(200, 100), noise(90, 150, 1)), tiled)
    assert tuple(index for span in shown.spans for index in span.ids) == shown.ids
    assert [span.start for span in shown.spans] == [
        sum(len(before.ids) for before in shown.spans[:place]) for place in range(len(shown.spans))
    ]
    for span in shown.spans:
        labels = shown.labels[span.start : span.start + len(span.ids)]
        assert all((label != IGNORE_INDEX) == span.trained for label in labels)
    assert [(span.text, len(span.ids)) for span in shown.spans if span.kind == "image"] == [
        ("1", shown.pictures[0].tokens),
        ("2", shown.pictures[1].tokens),
    ]
    trained = "".join(span.text for span in shown.spans if span.trained)
    assert trained == "第一张 is new,  第二张有𠮷🐱。\n\n完。<|im_end|>好的<|im_end|>"
    # What a user writes is text, whatever it looks like.
    assert any(span.kind == "text" and "<|im_end|>\n <image>" in span.text for span in shown.spans)


def test_tiles_are_the_pixels_of_the_batch(tiled: TuwenProcessor) -> None:
    images = noise(200, 100), noise(90, 150, 1)
    sample = conversation(*images)
    shown = look_at(sample, tiled)
    tiles = [tile for picture in shown.pictures for tile in picture.tiles]
    assert [np.asarray(tile).tolist() for tile in tiles] == [
        pixels.tolist() for image in images for pixels in tiled.policy.pixels(image)
    ]
    std, mean = (np.array(values, dtype=np.float32)[:, None, None] for values in (tiled.policy.std, tiled.policy.mean))
    again = np.stack([(np.asarray(tile, np.float32).transpose(2, 0, 1) / 255 - mean) / std for tile in tiles])
    torch.testing.assert_close(torch.from_numpy(again), Collator(tiled)([(sample,)]).pixel_values)
    assert [picture.size for picture in shown.pictures] == [(200, 100), (90, 150)]
    assert [picture.tokens for picture in shown.pictures] == [tiled.num_image_tokens(*image.size) for image in images]


def test_a_sample_that_training_shortens_is_shown_short(tiled: TuwenProcessor) -> None:
    sample = conversation(noise(200, 100))
    whole = look_at(sample, tiled)
    short = look_at(sample, tiled, max_length=len(whole.ids) - 1)
    assert len(short.ids) < len(whole.ids)
    assert "tiles" in short.change
    assert sum(len(picture.tiles) for picture in short.pictures) < sum(len(one.tiles) for one in whole.pictures)
    assert "made to fit" in shown_text(short, tiled)


def test_a_sample_that_training_leaves_out_is_shown_with_the_reason(processor: TuwenProcessor) -> None:
    shown = look_at(Sample(id="x", messages=(Message.of("user", "No answer?"),)), processor)
    assert "no token of it is trained" in shown.refused
    assert shown.trained == 0
    text = shown_text(shown, processor)
    assert "left out of training" in text
    assert "No answer?" in text


def test_a_picture_that_cannot_be_opened_is_named(processor: TuwenProcessor, tmp_path: Path) -> None:
    sample = Sample(
        id="x", messages=(Message.of("user", Image()), Message.of("assistant", "A")), images=(tmp_path / "gone.png",)
    )
    with pytest.raises(TuwenError, match="gone.png"):
        look_at(sample, processor)


def test_the_terminal_collapses_pictures_and_marks_what_is_trained(processor: TuwenProcessor) -> None:
    shown = look_at(conversation(noise(50, 50)), processor)
    text = shown_text(shown, processor)
    assert f"«image 1 ×{processor.tokens_per_tile}»" in text
    assert text.count("«image 1") == 1
    assert f"{OPEN}好的<|im_end|>" in text
    assert f"{len(shown.ids)} tokens" in text
    assert f"{shown.trained} trained" in text


def test_every_token_has_its_row(processor: TuwenProcessor) -> None:
    shown = look_at(conversation(noise(50, 50)), processor)
    rows = list(token_rows(shown, processor))
    assert len(rows) == len(shown.ids) - shown.image_tokens + len(shown.pictures)
    single = [(int(place), int(index)) for place, index, *_, span in rows if span.kind != "image"]
    assert all(shown.ids[place] == index for place, index in single)
    # A character that no token holds as a whole is shown by its bytes.
    spelt = " ".join(text for _, _, text, _, span in rows if span.trained)
    assert " ".join(f"{byte:02X}" for byte in "🐱".encode()) in spelt
    assert "\ufffd" not in spelt
    assert shown_text(shown, processor, tokens=True).count("✓") == shown.trained


def test_the_page_stands_alone(tiled: TuwenProcessor, tmp_path: Path) -> None:
    sample = conversation(noise(200, 100))
    evil = Message.of("user", Image(), "<script>alert(1)</script>")
    shown = look_at(Sample(id="x", messages=(evil, *sample.messages[2:]), images=sample.images), tiled)
    out = tmp_path / "sample.html"
    write_show_page(out, shown, tiled, "model")
    text = out.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "http" not in text
    assert text.count("<img ") == text.count("data:image/png;base64,") == len(shown.pictures[0].tiles)


def test_saved_tiles_are_what_the_model_sees(tiled: TuwenProcessor, tmp_path: Path) -> None:
    shown = look_at(conversation(noise(200, 100)), tiled)
    files = save_tiles(tmp_path / "tiles", shown, 7)
    assert [file.name for file in files] == [f"7-1-{place}.png" for place in range(1, len(files) + 1)]
    for file, tile in zip(files, shown.pictures[0].tiles, strict=True):
        assert PIL.Image.open(file).tobytes() == tile.tobytes()


PUBLISHED = (
    "qwen_vl/belle_vl_tiny",
    "visualcla_llava/llava_chinese_clip_tiny/merged",
    "visualcla_llava/visualcla_tiny/merged",
)


@needs_fixtures
@pytest.mark.parametrize("folder", PUBLISHED)
def test_published_folders_show_as_they_are_trained(folder: str) -> None:
    processor = read_folder(HERE.parent / folder).processor
    answer = "A <ref>cat</ref><box>(1,2),(3,4)</box> 猫。"
    messages = (Message.of("user", Image(), "图里有什么? 🐱"), Message.of("assistant", answer))
    shown = look_at(Sample(id="x", messages=messages, images=(noise(80, 60),)), processor)
    rendered = processor.renderer.render(messages, [shown.pictures[0].tokens])
    assert (list(shown.ids), list(shown.labels)) == (rendered.input_ids, rendered.labels)
    trained = "".join(span.text for span in shown.spans if span.trained)
    assert trained.strip().startswith(answer)
    assert "图里有什么? 🐱" in "".join(span.text for span in shown.spans)
