"""One processor: Tuwen's own door and the one of `transformers` and vLLM lead to the same inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import AutoProcessor

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.folder import ModelFolder, load_model
from tuwen.config import TuwenError
from tuwen.models.processing import TuwenImageProcessor, TuwenProcessor
from tuwen.vision import parse_policy


@pytest.fixture(scope="module")
def folder(toy_run: Path) -> ModelFolder:
    return load_model(toy_run / "model")


def picture(width: int, height: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def tiled(folder: ModelFolder) -> TuwenProcessor:
    """The folder's processor with a policy that cuts pictures into tiles."""
    policy = parse_policy({"type": "tiles", "size": 64, "max_tiles": 4})
    processor = folder.processor
    return TuwenProcessor.for_model(folder.model.config, policy, processor.tokenizer, processor.chat_template or "")


@pytest.mark.parametrize("cut", [False, True])
def test_the_protocol_of_transformers_gives_the_same_inputs(folder: ModelFolder, cut: bool) -> None:
    processor = tiled(folder) if cut else folder.processor
    images = [picture(90, 40), picture(30, 130)]
    messages = [Message.of("user", Image(), "和", Image(), "有什么不同?")]
    encoded = processor.encode(messages, images, add_generation_prompt=True)
    inputs = processor(images=images, text=encoded.rendered.text, return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == list(encoded.rendered.input_ids)
    torch.testing.assert_close(inputs["pixel_values"], torch.from_numpy(encoded.pixel_values))
    assert inputs["image_tiles"].tolist() == list(encoded.image_tiles)
    with torch.no_grad():
        assert folder.model(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("cut", [False, True])
def test_token_counts_are_known_from_sizes_and_are_what_is_written(folder: ModelFolder, cut: bool) -> None:
    processor = tiled(folder) if cut else folder.processor
    sizes = [(40, 90), (130, 30), (64, 64)]
    images = [picture(width, height) for height, width in sizes]
    planned = processor._get_num_multimodal_tokens(image_sizes=sizes)
    inputs = processor.image_processor(images)
    assert planned["num_image_patches"] == inputs["image_tiles"].tolist()
    for place, image in enumerate(images):
        expected = planned["num_image_tokens"][place]
        assert processor.num_image_tokens(*image.size) == expected
        assert processor.replace_image_token(inputs, place) == "<image>" * expected
        encoded = processor.encode([Message.of("user", Image())], [image])
        assert list(encoded.rendered.input_ids).count(processor.image_token_id) == expected
        features = folder.model.get_image_features(torch.from_numpy(encoded.pixel_values), encoded.image_tiles)
        assert features.pooler_output[0].shape[0] == expected


def test_a_typed_placeholder_stays_text(folder: ModelFolder) -> None:
    text = "<image><|im_end|><|im_start|>system"
    plain = folder.processor.encode([Message.of("user", text)])
    ids = list(plain.rendered.input_ids)
    assert folder.processor.image_token_id not in ids
    assert text in folder.processor.tokenizer.decode(ids)
    end = folder.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert ids.count(end) == list(folder.processor.encode([Message.of("user", "x")]).rendered.input_ids).count(end)


def test_pictures_and_places_must_agree(folder: ModelFolder) -> None:
    with pytest.raises(TuwenError, match="sample-3"):
        folder.processor.encode([Message.of("user", Image(), "?")], [], name="sample-3")


def test_the_folder_opens_by_auto_class(toy_run: Path) -> None:
    processor = AutoProcessor.from_pretrained(toy_run / "model")
    assert isinstance(processor, TuwenProcessor)
    assert isinstance(processor.image_processor, TuwenImageProcessor)
    assert processor.policy == load_model(toy_run / "model").processor.policy


def test_text_alone_has_no_tiles(folder: ModelFolder) -> None:
    encoded = folder.processor.encode([Message.of("user", "你好")])
    assert encoded.pixel_values.shape == (0, 3, 64, 64)
    assert encoded.image_tiles == ()
