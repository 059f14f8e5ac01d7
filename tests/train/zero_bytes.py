"""Bytes that a process holds under ZeRO, part by part; started by ``test_deepspeed``, which plans the same."""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import fields
from pathlib import Path

import torch
from accelerate import Accelerator

from tests.train.test_plan_memory import config_of, packed_batch, real_model, stage_of
from tuwen.data.collator import Batch
from tuwen.train.engines.base import start_engine
from tuwen.train.losses import TrainedModel
from tuwen.train.modules.optimizer import GroupedOptimizer, make_groups
from tuwen.train.settings import Distribution

MODES = "full full lora"


def held() -> int:
    """Of all tensors that there are."""
    gc.collect()
    # Some objects load modules when they are asked for their class.
    tensors = [value for value in gc.get_objects() if issubclass(type(value), torch.Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    values = [getattr(batch, field.name) for field in fields(batch)]
    return [value for value in values if isinstance(value, torch.Tensor)]


def measure(kind: str, accelerator: Accelerator) -> dict[str, int]:
    """Bytes before and after the first update, in which the moments of the optimiser come to be."""
    stage = stage_of(MODES)
    around = held()
    model = real_model(config_of("clip_vision_model", "qwen2"), stage, frozen_in_bf16=False)
    groups = make_groups(model, stage)
    batch = packed_batch(model)
    around += sum(tensor.nbytes for tensor in [*tensors_of(batch), *model.buffers()])
    engine = start_engine(TrainedModel(model, stage.sums), Distribution.model_validate({"type": kind}), accelerator)
    engine.bind(GroupedOptimizer(groups, stage))
    with engine.accumulating(last=True):
        engine.backward(engine.losses(batch)["answers"].sum())
    engine.clip(groups, 1.0)
    engine.give_back()
    before = held() - around
    engine.update(0)
    found = {"before": before, "after": held() - around}
    engine.release()
    return found


if __name__ == "__main__":
    accelerator = Accelerator(cpu=True)
    found = {kind: measure(kind, accelerator) for kind in sys.argv[2:]}
    if accelerator.is_main_process:
        Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
    accelerator.end_training()
