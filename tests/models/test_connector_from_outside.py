"""A connector from outside the package: one file, imported or brought by an installed package, is as good as ours."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from tests.models.compositions import compose, prompt
from tests.models.test_connectors import GRIDS, LANGUAGE_DIM, VISION_DIM, check
from tuwen.models.connectors.base import CONNECTORS, build_connector

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


def test_an_installed_package_brings_a_connector_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside_package.py").write_text(OUTSIDE.replace('"twice"', '"packaged"'), encoding="utf-8")
    metadata = tmp_path / "outside_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tuwen.connector]\npackaged = outside_package:Twice\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "packaged" in CONNECTORS.names()
    check(build_connector({"type": "packaged"}, VISION_DIM, LANGUAGE_DIM), GRIDS[1])
