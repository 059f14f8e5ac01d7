"""What every connector promises; a new one is found and tested by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from tests.models.compositions import compose, prompt
from tuwen.config import TuwenError
from tuwen.models.connectors.base import CONNECTORS, Connector, build_connector
from tuwen.models.connectors.cross_attention import sine_cosine_positions
from tuwen.models.positions import resize_positions
from tuwen.vision.grid import PatchGrid

FIXTURES = Path(__file__).parents[2] / "../shared/fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="no ../shared/fixtures beside the repository")
VISION_DIM, LANGUAGE_DIM = 32, 64
SMALL: dict[str, dict[str, Any]] = {
    "abstractor": {"num_queries": 9, "depth": 1, "hidden_size": 16},
    "cross_attention": {"num_queries": 16},
    "qformer": {"num_queries": 5, "hidden_size": 32, "num_layers": 2, "num_heads": 4},
    "resampler": {"num_queries": 5, "num_layers": 2, "num_heads": 4},
}
GRIDS = [PatchGrid(4, 4), PatchGrid(8, 8, prefix=1), PatchGrid(6, 10), PatchGrid(2, 6, prefix=5)]


def small(name: str) -> Connector[Any]:
    """A small connector of the kind, the same every time."""
    torch.manual_seed(0)
    width = LANGUAGE_DIM if name == "identity" else VISION_DIM
    return build_connector({"type": name, **SMALL.get(name, {})}, width, LANGUAGE_DIM)


def check(connector: Connector[Any], grid: PatchGrid) -> None:
    """The contract of all connectors on one grid."""
    torch.manual_seed(1)
    features = torch.randn(3, grid.length, connector.vision_dim, requires_grad=True)
    tokens = connector(features, grid)
    assert tokens.shape == (3, connector.config.num_tokens(grid), connector.language_dim)
    assert tokens.isfinite().all()
    # A tile's tokens are its own: neither its neighbours nor their number matters.
    torch.testing.assert_close(connector(features[1:2], grid), tokens[1:2], rtol=1e-4, atol=1e-5)
    tokens.square().sum().backward()
    assert features.grad is not None
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
    places = connector.config.token_grid(grid)
    if places is not None:
        assert places[0] * places[1] == connector.config.num_tokens(grid)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("name", CONNECTORS.names())
def test_contract(name: str, grid: PatchGrid) -> None:
    check(small(name), grid)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        {"type": "pooling", "tokens": 4},
        {"type": "pooling", "tokens": 9, "kind": "max"},
        {"type": "pooling", "factor": 3, "kind": "max"},
        {"type": "cross_attention", "num_queries": 4, "width": 48, "num_heads": 3},
        {"type": "cross_attention", "num_queries": 4, "width": 32},
        {"type": "abstractor", "num_queries": 4, "depth": 0},
        {"type": "qformer", **SMALL["qformer"], "cross_attention_frequency": 1},
        {"type": "mlp", "depth": 1, "input_norm": True},
        {"type": "pixel_shuffle", "scale": 1},
    ],
    ids=str,
)
def test_contract_holds_for_other_settings(settings: dict[str, Any], grid: PatchGrid) -> None:
    torch.manual_seed(0)
    check(build_connector(settings, VISION_DIM, LANGUAGE_DIM), grid)


@pytest.mark.parametrize("name", ["abstractor", "cross_attention", "pixel_shuffle", "pooling"])
def test_connectors_with_places_leave_out_class_tokens_and_no_patch(name: str) -> None:
    connector = small(name)
    features = torch.randn(1, 18, VISION_DIM)
    with torch.no_grad():
        expected = connector(features[:, 2:], PatchGrid(4, 4))
        torch.testing.assert_close(connector(features, PatchGrid(4, 4, prefix=2)), expected)


@pytest.mark.parametrize("name", CONNECTORS.names())
def test_no_pictures_give_no_tokens(name: str) -> None:
    connector, grid = small(name), PatchGrid(4, 4)
    tokens = connector(torch.zeros(0, grid.length, connector.vision_dim), grid)
    assert tokens.shape == (0, connector.config.num_tokens(grid), connector.language_dim)


@pytest.mark.parametrize("name", CONNECTORS.names())
def test_weights_loaded_into_a_connector_made_without_memory_need_nothing_else(name: str) -> None:
    # A table that is neither a parameter nor saved would come out as garbage here.
    known, grid = small(name), PatchGrid(6, 6)
    with torch.device("meta"):
        empty = small(name)
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(known.state_dict())
    features = torch.randn(1, grid.length, known.vision_dim)
    torch.testing.assert_close(filled(features, grid), known(features, grid))


@pytest.mark.parametrize("name", CONNECTORS.names())
def test_reset_gives_everything_of_the_connector_itself_its_value(name: str) -> None:
    connector = small(name)
    own = {key: value for key, value in connector.state_dict(keep_vars=True).items() if "." not in key}
    for value in own.values():
        torch.nn.init.constant_(value, float("nan"))
    connector.reset_parameters()
    for key, value in own.items():
        assert value.isfinite().all(), key
        assert value.std() > 0, key


@pytest.mark.parametrize("name", CONNECTORS.names())
def test_same_seed_same_weights_and_saved_weights_come_back(name: str, tmp_path: Path) -> None:
    one, other = small(name), small(name)
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    torch.manual_seed(7)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    if not other.state_dict():
        assert name == "identity"
        return
    save_file(other.state_dict(), tmp_path / "connector.safetensors")
    one.load_state_dict(load_file(tmp_path / "connector.safetensors"))
    features = torch.randn(1, 16, one.vision_dim)
    torch.testing.assert_close(one(features, PatchGrid(4, 4)), other(features, PatchGrid(4, 4)))


@pytest.mark.parametrize("name", CONNECTORS.names())
def test_half_precision(name: str) -> None:
    connector = small(name).bfloat16()
    tokens = connector(torch.randn(2, 16, connector.vision_dim, dtype=torch.bfloat16), PatchGrid(4, 4))
    assert tokens.dtype == torch.bfloat16


@pytest.mark.parametrize("name", CONNECTORS.names())
def test_mixed_precision_stays_near_full_precision(name: str) -> None:
    connector, grid = small(name), PatchGrid(4, 4)
    features = torch.randn(2, grid.length, connector.vision_dim)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = connector(features, grid)
    expected = connector(features, grid)
    assert (tokens - expected).abs().max() < 0.05 * max(1.0, float(expected.detach().abs().max()))


@pytest.mark.parametrize("name", sorted(set(CONNECTORS.names()) - {"linear"}))
def test_whole_model_saves_and_loads(name: str, tmp_path: Path) -> None:
    settings = {"type": name, **SMALL.get(name, {})}
    model = compose("siglip_vision_model", "qwen2", settings, layers=[-1])
    ids, pixels = prompt(model)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = model(input_ids=ids, pixel_values=pixels).logits
        torch.testing.assert_close(again(input_ids=ids, pixel_values=pixels).logits, expected)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"type": "linear"}, 32 * 64 + 64),
        ({"type": "linear", "bias": False}, 32 * 64),
        ({"type": "mlp", "depth": 3}, 32 * 64 + 64 + 2 * (64 * 64 + 64)),
        ({"type": "mlp", "depth": 2, "hidden_size": 16, "input_norm": True}, 64 + 32 * 16 + 16 + 16 * 64 + 64),
        ({"type": "pixel_shuffle", "scale": 2}, 2 * 128 + 128 * 64 + 64 + 64 * 64 + 64),
        ({"type": "pooling"}, 32 * 64 + 64 + 64 * 64 + 64),
        ({"type": "pooling", "tokens": 4, "hidden_size": 8}, 32 * 8 + 8 + 8 * 64 + 64),
        ({"type": "cross_attention", "num_queries": 9, "width": 16}, 9 * 16 + 32 * 16 + 4 * 16 * 17 + 6 * 16 + 16 * 64),
        # as wide as the features: nothing to bring them to the width
        ({"type": "cross_attention", "num_queries": 9, "width": 32}, 9 * 32 + 4 * 32 * 33 + 6 * 32 + 32 * 64),
        # queries; a layer's query, key, value, output, feed-forward there and back, two norms; projection
        (
            {"type": "resampler", "num_queries": 5, "num_layers": 2, "num_heads": 4},
            5 * 32 + 2 * (4 * 32 * 33 + 33 * 128 + 129 * 32 + 4 * 32) + 33 * 64,
        ),
        # two blocks of 32 channels: three convolutions with norms, squeeze to 8 and back; two linear layers
        (
            {"type": "abstractor", "num_queries": 4, "depth": 1},
            2 * (2 * 32 * 32 + 9 * 32 + 3 * 2 * 32 + 33 * 8 + 9 * 32) + 33 * 64 + 65 * 64,
        ),
        # queries; the norm at the door; self-attention twice, cross-attention once; feed-forward twice; projection
        (
            {"type": "qformer", **SMALL["qformer"]},
            5 * 32 + 2 * 32 + 3 * (4 * 32 * 33 + 2 * 32) + 2 * (33 * 128 + 129 * 32 + 2 * 32) + 33 * 64,
        ),
        # queries, kv_proj, attention in and out with biases, three norms, output projection
        ({"type": "cross_attention", "num_queries": 9}, 9 * 64 + 32 * 64 + 4 * 64 * 64 + 4 * 64 + 6 * 64 + 64 * 64),
    ],
)
def test_parameter_counts(settings: dict[str, Any], count: int) -> None:
    connector = build_connector(settings, VISION_DIM, LANGUAGE_DIM)
    assert sum(parameter.numel() for parameter in connector.parameters()) == count


def test_cross_attention_is_the_published_formula() -> None:
    connector = small("cross_attention")
    grid = PatchGrid(6, 6)
    features = torch.randn(2, 36, VISION_DIM)
    positions = sine_cosine_positions(LANGUAGE_DIM, 4)
    with torch.no_grad():
        values = connector.ln_kv(features @ connector.kv_proj.weight.T)
        keys = values + resize_positions(positions, grid.rows, grid.columns)
        queries = connector.ln_q(connector.query) + positions
        weight_q, weight_k, weight_v = connector.attn.in_proj_weight.chunk(3)
        bias_q, bias_k, bias_v = connector.attn.in_proj_bias.chunk(3)
        scores = (queries @ weight_q.T + bias_q) @ (keys @ weight_k.T + bias_k).transpose(1, 2)
        attended = (scores / LANGUAGE_DIM**0.5).softmax(-1) @ (values @ weight_v.T + bias_v)
        out = attended @ connector.attn.out_proj.weight.T + connector.attn.out_proj.bias
        expected = connector.ln_post(out) @ connector.proj
        torch.testing.assert_close(connector(features, grid), expected, rtol=1e-4, atol=1e-5)


def original_cross_attention(system: str) -> Connector[Any]:
    """The connector with published weights: from the encoder's file (Belle-VL) or from one of its own (CodeFuse)."""
    if system == "belle":
        stored = load_file(FIXTURES / "qwen_vl/belle_vl_tiny_safetensors/model.safetensors")
        prefix = "transformer.visual."
    else:
        path = FIXTURES / "qwen_vl/codefuse_vlm_tiny/mm_projector/mm_projector.bin"
        stored = torch.load(path, weights_only=True)
        prefix = "transformer.mm_projector."
    weights = {
        key.removeprefix(prefix).removeprefix("attn_pool."): value.float()
        for key, value in stored.items()
        if key.startswith((f"{prefix}attn_pool.", f"{prefix}ln_post.")) or key == f"{prefix}proj"
    }
    connector = build_connector({"type": "cross_attention"}, weights["kv_proj.weight"].shape[1], len(weights["proj"]))
    connector.load_state_dict(weights)
    return connector


@needs_fixtures
@pytest.mark.parametrize(
    ("system", "features", "result"),
    [
        ("belle", "image.square.trunk", "image.square.visual"),
        ("codefuse", "image.square.bf16in.trunk", "image.square.bf16in.projector"),
    ],
)
def test_cross_attention_gives_what_the_original_gives(system: str, features: str, result: str) -> None:
    expected = np.load(FIXTURES / f"qwen_vl/{system}_expected.npz")
    with torch.no_grad():
        tokens = original_cross_attention(system)(torch.from_numpy(expected[features])[None], PatchGrid(8, 8))[0]
    torch.testing.assert_close(tokens, torch.from_numpy(expected[result]), rtol=0, atol=1e-4)


@needs_fixtures
def test_cross_attention_brings_positions_to_a_finer_grid_as_the_original_does() -> None:
    expected = np.load(FIXTURES / "qwen_vl/belle_expected.npz")["image280.pos_embed_resampler_rows"]
    table = resize_positions(original_cross_attention("belle").pos_embed, 20, 20)
    torch.testing.assert_close(table[::16], torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_positions_that_were_loaded_stay_when_a_folder_is_loaded_again(tmp_path: Path) -> None:
    model = compose(connector={"type": "cross_attention", "num_queries": 4})
    table = torch.randn_like(model.model.connector.pos_embed)
    model.model.connector.pos_embed.copy_(table)
    assert "pos_embed" not in dict(model.model.connector.named_parameters())
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for left_out in (None, "model.connector.query"):
        weights.pop(left_out, None)
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        connector = type(model).from_pretrained(tmp_path).model.connector
        assert torch.equal(connector.pos_embed, table)
        assert connector.query.isfinite().all()


@needs_fixtures
@pytest.mark.parametrize("picture", ["shapes_320x240.png", "tall_150x410_rgba.png"])
def test_resampler_gives_what_the_original_visualcla_gives(picture: str) -> None:
    folder = FIXTURES / "visualcla_llava/visualcla_tiny"
    stored = torch.load(folder / "merged/pytorch_model.bin", weights_only=True)
    names = {
        "crossattention.self.": "",
        "crossattention.output.dense": "attention_output",
        "crossattention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "intermediate",
        "output.dense": "output",
        "output.LayerNorm": "output_norm",
    }
    weights = {"query_embedding": stored["visual_resampler.query_embeddding"]}
    for key, value in stored.items():
        if key.startswith("visual_resampler.encoder.layer."):
            place, _, rest = key.removeprefix("visual_resampler.encoder.layer.").partition(".")
            theirs = next(theirs for theirs in names if rest.startswith(theirs))
            weights[f"layers.{place}.{names[theirs]}{rest.removeprefix(theirs)}"] = value
        elif key.startswith("image_projection_layer."):
            weights[key.replace("image_projection_layer", "projection")] = value
    language_dim, vision_dim = weights["projection.weight"].shape
    settings = {"type": "resampler", "num_layers": 6, "num_heads": 6, "intermediate_size": 112}
    connector = build_connector(settings, vision_dim, language_dim)
    connector.load_state_dict({key: value.float() for key, value in weights.items()})
    expected = np.load(folder / "expected.npz")
    features = torch.from_numpy(expected[f"vision_post_layernorm/{picture}"])[None]
    with torch.no_grad():
        tokens = connector(features, PatchGrid(16, 16, prefix=1))[0]
    torch.testing.assert_close(tokens, torch.from_numpy(expected[f"projected/{picture}"]), rtol=0, atol=2e-5)


def test_qformer_is_the_one_of_transformers_and_a_linear_layer() -> None:
    connector = small("qformer")
    reference = Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            encoder_hidden_size=VISION_DIM,
            cross_attention_frequency=2,
        )
    ).eval()
    reference.load_state_dict(connector.qformer.state_dict())
    features = torch.randn(2, 17, VISION_DIM)
    with torch.no_grad():
        hidden = reference(connector.query_tokens.expand(2, -1, -1), encoder_hidden_states=features).last_hidden_state
        expected = hidden @ connector.projection.weight.T + connector.projection.bias
        torch.testing.assert_close(connector.train()(features, PatchGrid(4, 4, prefix=1)), expected)


def test_pixel_shuffle_folds_neighbours_and_pooling_averages_them() -> None:
    features = torch.arange(16.0).reshape(1, 16, 1)
    folded: list[torch.Tensor] = []
    shuffle = build_connector({"type": "pixel_shuffle"}, 1, 8)
    shuffle.layers[0].register_forward_pre_hook(lambda _, inputs: folded.append(inputs[0]))
    shuffle(features, PatchGrid(4, 4))
    assert folded[0][0, :2].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    for settings, values in (
        ({"factor": 2}, [2.5, 4.5, 10.5, 12.5]),
        ({"tokens": 4}, [2.5, 4.5, 10.5, 12.5]),
        ({"factor": 3}, [5.0, 7.0, 13.0, 15.0]),
        ({"tokens": 1, "kind": "max"}, [15.0]),
    ):
        pooling = build_connector({"type": "pooling", **settings}, 1, 8)
        pooled: list[torch.Tensor] = []
        pooling.layers[0].register_forward_pre_hook(lambda _, inputs, seen=pooled: seen.append(inputs[0]))
        pooling(features, PatchGrid(4, 4))
        assert pooled[0].flatten().tolist() == values


def test_positions_of_a_cell_name_its_column_then_its_row() -> None:
    table = sine_cosine_positions(8, 3).reshape(3, 3, 8)
    torch.testing.assert_close(table[2, 1, :4], table[0, 1, :4])
    torch.testing.assert_close(table[2, 1, 4:], table[2, 0, 4:])
    assert table[0, 1, 0] == pytest.approx(torch.tensor(1.0).sin().item())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "linear", "biass": True}, "biass: unknown key 'biass'.*did you mean 'bias'"),
        ({"type": "mlp", "depth": 0}, "depth"),
        ({"type": "mlp", "activation": "geluu"}, "activation: unknown activation 'geluu'.*did you mean 'gelu'"),
        ({"type": "pooling", "tokens": 5}, "tokens: 5 is not a square number; choose e.g. 4"),
        ({"type": "pooling", "tokens": 4, "factor": 2}, "factor 2 and tokens 4 exclude each other"),
        ({"type": "pooling", "kind": "sum"}, "kind: .*found 'sum'"),
        ({"type": "abstractor", "num_queries": 8}, "num_queries: 8 is not a square number; choose e.g. 9"),
        ({"type": "pixel_shuffle", "scale": 0}, "scale: .*found 0"),
        ({"type": "cross_attention", "width": 30}, "a width of 30 must be divisible by 4"),
        ({}, "connector.type: name a connector, one of abstractor"),
        ("mlp", "connector: expected keys and values, found 'mlp'"),
        ({"type": "identity"}, "32 wide and the language model 64; choose linear or mlp"),
        ({"type": "cross_attention", "num_queries": 10}, "10 is not a square number"),
        ({"type": "cross_attention", "num_heads": 7}, "divisible by 4 and by num_heads 7"),
        ({"type": "resampler", "num_heads": 5}, "num_heads 5 does not divide the vision width 32"),
        ({"type": "qformer", "num_heads": 5}, "num_heads 5 does not divide hidden_size 768"),
        ({"type": "resampla"}, "unknown connector 'resampla'.*did you mean 'resampler'"),
    ],
)
def test_wrong_settings_are_named_in_one_line(settings: Any, message: str) -> None:
    with pytest.raises(TuwenError, match=message) as caught:
        build_connector(settings, VISION_DIM, LANGUAGE_DIM)
    assert "\n" not in str(caught.value)


def test_pixel_shuffle_refuses_a_grid_that_does_not_divide() -> None:
    with pytest.raises(TuwenError, match="5x4 patches cannot be divided by scale 2"):
        small("pixel_shuffle").config.num_tokens(PatchGrid(5, 4))
