"""Every encoder and language model comes back from its folder as it was, whatever names its weights have there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.models.compositions import ENCODER_CONFIGS, IMAGE_TOKEN_ID, LANGUAGE_CONFIGS, compose, prompt
from tuwen.chat.templates import load_template
from tuwen.checkpoints.folder import load_model, save_model
from tuwen.checkpoints.opening import load_published, read_folder
from tuwen.models.language.tokenizer import add_control_tokens, train_tokenizer
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.processing import TuwenProcessor
from tuwen.vision import parse_policy

OTHERS = sorted(set(LANGUAGE_CONFIGS) - {"llama"})


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    made = train_tokenizer(["一张图片。 a picture of a cat"] * 4, 300)
    add_control_tokens(made, load_template("chatml").tokens)
    return made


def parts(vision: str, language: str, tokenizer: PreTrainedTokenizerFast) -> TuwenForConditionalGeneration:
    model = compose(vision, language=language)
    model.resize_token_embeddings(len(tokenizer))
    model.config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    return model.eval()


@pytest.mark.parametrize(
    ("vision", "language"),
    [*((vision, "llama") for vision in sorted(ENCODER_CONFIGS)), *(("clip_vision_model", name) for name in OTHERS)],
)
def test_a_saved_model_is_the_same_when_loaded_either_way(
    vision: str, language: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = parts(vision, language, tokenizer)
    policy, template = parse_policy({"type": "square", "size": 32}), load_template("chatml")
    processor = TuwenProcessor.for_model(model.config, policy, tokenizer, template.jinja)
    save_model(model, processor, tmp_path / "saved")
    ids, pixels = prompt(model, pictures=2)
    ids[ids == IMAGE_TOKEN_ID] = model.config.image_token_id
    with torch.no_grad():
        wanted = model(input_ids=ids, pixel_values=pixels).logits
        loaded = load_model(tmp_path / "saved").model
        torch.testing.assert_close(loaded(input_ids=ids, pixel_values=pixels).logits, wanted)
        read = load_published(read_folder(tmp_path / "saved"), torch.device("cpu"), None).model
        torch.testing.assert_close(read(input_ids=ids, pixel_values=pixels).logits, wanted)
