"""Any encoder × connector × language model is one model: features, generation, saving, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from tests.models.compositions import ENCODER_CONFIGS, IMAGE_TOKEN_ID, LANGUAGE_CONFIGS, compose, prompt
from tuwen.config import TuwenError
from tuwen.models.encoders.base import ENCODERS, encoder_kind


def test_every_registered_encoder_is_tested() -> None:
    assert sorted(ENCODER_CONFIGS) == ENCODERS.names()


@pytest.mark.parametrize("vision", sorted(ENCODER_CONFIGS))
@pytest.mark.parametrize("select", ["patch", "all"])
def test_features_are_the_chosen_hidden_states(vision: str, select: str) -> None:
    model = compose(vision, layers=[-1, 1], select=select)
    pixels = torch.randn(3, 3, 32, 32)
    tower, config = model.model.vision_tower, model.config.vision_config
    inputs = encoder_kind(config).inputs(pixels, config)
    with torch.no_grad():
        states = tower(**inputs, output_hidden_states=True).hidden_states
        features = model.model.vision_features(pixels)
    assert len(states) == config.num_hidden_layers + 1
    prefix = states[0].shape[1] - 16
    assert prefix == encoder_kind(config).prefix(config)
    start = prefix if select == "patch" else 0
    expected = torch.cat([states[-1][:, start:], states[1][:, start:]], dim=-1)
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("vision", ["siglip_vision_model", "dinov2", "dinov3_vit", "tuwen_conv_vit"])
def test_post_layernorm_gives_the_encoders_own_output(vision: str) -> None:
    model = compose(vision, layers=[-1], select="all", post_layernorm=True)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.model.vision_tower(pixels).last_hidden_state
        torch.testing.assert_close(model.model.vision_features(pixels), expected)


def test_clip_post_layernorm_is_the_layer_that_makes_its_pooled_output() -> None:
    model = compose("clip_vision_model", layers=[-1], select="all", post_layernorm=True)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.model.vision_tower(pixels).pooler_output
        torch.testing.assert_close(model.model.vision_features(pixels)[:, 0], expected)


@pytest.mark.parametrize("language", sorted(LANGUAGE_CONFIGS))
def test_generation_with_cache_equals_recomputing(language: str) -> None:
    model = compose(language=language)
    ids, pixels = prompt(model, pictures=2)
    generated = model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=6, do_sample=False, eos_token_id=None)
    current = ids
    with torch.no_grad():
        for _ in range(6):
            logits = model(input_ids=current, pixel_values=pixels).logits[:, -1]
            current = torch.cat([current, logits.argmax(-1, keepdim=True)], dim=1)
    assert generated.tolist() == current.tolist()


@pytest.mark.parametrize("vision", ["clip_vision_model", "siglip2_vision_model", "tuwen_conv_vit"])
@pytest.mark.parametrize("language", ["llama", "qwen3"])
def test_save_and_load_by_auto_class(vision: str, language: str, tmp_path: Path) -> None:
    model = compose(vision, language)
    ids, pixels = prompt(model)
    model.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.connector_config, config.vision_feature) == (model.config.connector_config, {})
    with torch.no_grad():
        torch.testing.assert_close(
            again(input_ids=ids, pixel_values=pixels).logits, model(input_ids=ids, pixel_values=pixels).logits
        )


def test_pictures_change_the_answer_and_only_behind_them() -> None:
    model = compose()
    ids, pixels = prompt(model)
    with torch.no_grad():
        one = model(input_ids=ids, pixel_values=pixels).logits
        other = model(input_ids=ids, pixel_values=-pixels).logits
    assert torch.equal(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, -1], other[:, -1])


def test_loss_reaches_all_three_modules() -> None:
    model = compose()
    ids, pixels = prompt(model)
    labels = torch.where(ids == IMAGE_TOKEN_ID, -100, ids)
    model(input_ids=ids, pixel_values=pixels, labels=labels).loss.backward()
    for part in (model.model.vision_tower, model.model.connector, model.model.language_model):
        assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in part.parameters())


def test_a_wrong_number_of_image_tokens_is_said_with_both_counts() -> None:
    model = compose()
    ids, pixels = prompt(model)
    with pytest.raises(TuwenError, match=r"hold 15 image tokens, but the pictures give 16"):
        model(input_ids=torch.cat([ids[:, :2], ids[:, 3:]], dim=1), pixel_values=pixels)


def test_image_features_are_given_per_picture() -> None:
    model = compose()
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        together = model.get_image_features(pixels).pooler_output
        apart = model.get_image_features(pixels, image_tiles=torch.tensor([2, 1])).pooler_output
    assert [tuple(part.shape) for part in apart] == [(32, 32), (16, 32)]
    torch.testing.assert_close(torch.cat(apart), together.flatten(0, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [9]}, "vision_feature.layers: 9 is outside the 3 hidden states"),
        ({"layer": [1]}, "vision_feature: layer: unknown key 'layer'.*did you mean 'layers'"),
        ({"connector": {"type": "mpl"}}, "unknown connector 'mpl'.*did you mean 'mlp'"),
        ({"connector": {"depth": 2}}, "connector.type: name a connector"),
    ],
)
def test_parts_that_do_not_fit_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        compose(**change)  # type: ignore[arg-type]
