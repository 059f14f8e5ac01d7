"""What every connector promises; a new one is found and tested by itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.compositions import compose, prompt
from tuwen.config import TuwenError
from tuwen.models.connectors.base import CONNECTORS, Connector, build_connector
from tuwen.models.connectors.cross_attention import resize_positions, sine_cosine_positions
from tuwen.vision.grid import PatchGrid

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
    positions = sine_cosine_positions(LANGUAGE_DIM, 4, torch.device("cpu"))
    with torch.no_grad():
        values = connector.ln_kv(features @ connector.kv_proj.weight.T)
        keys = values + resize_positions(positions, 4, grid)
        queries = connector.ln_q(connector.query) + positions
        weight_q, weight_k, weight_v = connector.attn.in_proj_weight.chunk(3)
        bias_q, bias_k, bias_v = connector.attn.in_proj_bias.chunk(3)
        scores = (queries @ weight_q.T + bias_q) @ (keys @ weight_k.T + bias_k).transpose(1, 2)
        attended = (scores / LANGUAGE_DIM**0.5).softmax(-1) @ (values @ weight_v.T + bias_v)
        out = attended @ connector.attn.out_proj.weight.T + connector.attn.out_proj.bias
        expected = connector.ln_post(out) @ connector.proj
        torch.testing.assert_close(connector(features, grid), expected, rtol=1e-4, atol=1e-5)


def test_positions_of_a_cell_name_its_column_then_its_row() -> None:
    table = sine_cosine_positions(8, 3, torch.device("cpu")).reshape(3, 3, 8)
    torch.testing.assert_close(table[2, 1, :4], table[0, 1, :4])
    torch.testing.assert_close(table[2, 1, 4:], table[2, 0, 4:])
    assert table[0, 1, 0] == pytest.approx(torch.tensor(1.0).sin().item())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "linear", "biass": True}, "biass: unknown key 'biass'.*did you mean 'bias'"),
        ({"type": "mlp", "depth": 0}, "depth"),
        ({"type": "identity"}, "32 wide and the language model 64; choose linear or mlp"),
        ({"type": "cross_attention", "num_queries": 10}, "10 is not a square number"),
        ({"type": "cross_attention", "num_heads": 7}, "divisible by 4 and by num_heads 7"),
        ({"type": "resampler", "num_heads": 5}, "num_heads 5 does not divide the vision width 32"),
        ({"type": "qformer", "num_heads": 5}, "num_heads 5 does not divide hidden_size 768"),
        ({"type": "resampla"}, "unknown connector 'resampla'.*did you mean 'resampler'"),
    ],
)
def test_wrong_settings_are_named_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TuwenError, match=message) as caught:
        build_connector(settings, VISION_DIM, LANGUAGE_DIM)
    assert "\n" not in str(caught.value)


def test_pixel_shuffle_refuses_a_grid_that_does_not_divide() -> None:
    with pytest.raises(TuwenError, match="5x4 patches cannot be divided by scale 2"):
        small("pixel_shuffle").config.num_tokens(PatchGrid(5, 4))


OUTSIDE = """
from torch import nn
from tuwen.models.connectors.base import CONNECTORS, Connector, ConnectorConfig

class TwiceConfig(ConnectorConfig):
    bias: bool = True
    def num_tokens(self, grid):
        return 2 * grid.length

@CONNECTORS.register("twice")
class Twice(Connector):
    config_class = TwiceConfig
    def __init__(self, config, vision_dim, language_dim):
        super().__init__(config, vision_dim, language_dim)
        self.projection = nn.Linear(vision_dim, 2 * language_dim, bias=config.bias)
    def forward(self, features_BND, grid):
        return self.projection(features_BND).unflatten(-1, (2, -1)).flatten(1, 2)
"""


def test_a_connector_from_outside_the_package_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "outside_connector.py"
    path.write_text(OUTSIDE, encoding="utf-8")
    specification = importlib.util.spec_from_file_location("outside_connector", path)
    assert specification is not None
    assert specification.loader is not None
    specification.loader.exec_module(importlib.util.module_from_spec(specification))
    for grid in GRIDS:
        check(build_connector({"type": "twice"}, VISION_DIM, LANGUAGE_DIM), grid)
    model = compose(connector={"type": "twice", "bias": False})
    ids, pixels = prompt(model)
    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        expected = model(input_ids=ids, pixel_values=pixels).logits
        torch.testing.assert_close(again(input_ids=ids, pixel_values=pixels).logits, expected)
