"""What a run with every kind of adapter leaves: one model, whichever way it is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import run_cli
from tuwen.checkpoints.opening import read_folder
from tuwen.checkpoints.weights import WeightFiles

LANGUAGE = "{mode: lora, learning_rate: 0.01, new_rows: 300, gradient_checkpointing: true, lora: {type: dora, rank: 4}}"
VISION = "{mode: lora, learning_rate: 0.01, layer_decay: 0.9, lora: {rank: 2, rank_stabilised: true, dropout: 0.1}}"


@pytest.mark.slow
def test_adapter_delta_and_model_are_the_same(toy_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    modules = [f"stages.1.modules.language={LANGUAGE}", f"stages.1.modules.vision={VISION}"]
    result = run_cli("train", toy_recipe, "--out", run, *modules, "stages.1.warmup=0.5", "stages.0.optimizer.type=muon")
    assert result.returncode == 0, result.stderr
    assert "new rows" in result.stdout
    base, model = run / "stages" / "align", WeightFiles.find(run / "model")
    before = WeightFiles.find(base)
    embeddings = "model.language_model.embed_tokens.weight"
    assert torch.equal(model[embeddings][:300], before[embeddings][:300])
    assert not torch.equal(model[embeddings][300:], before[embeddings][300:])

    result = run_cli("delta", run / "model", tmp_path / "delta", "--base", base)
    assert result.returncode == 0, result.stderr
    sizes = {
        place: (place / "adapter_model.safetensors").stat().st_size
        for place in (tmp_path / "delta", run / "model" / "adapter")
    }
    assert sizes[tmp_path / "delta"] < 1.1 * sizes[run / "model" / "adapter"]
    for adapter in sizes:
        together = read_folder(base, adapter).files
        assert set(together) == set(model)
        for name in model:
            torch.testing.assert_close(together[name], model[name], rtol=1e-5, atol=1e-6)
