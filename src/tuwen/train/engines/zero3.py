"""Weights, gradients and optimiser split over processes by DeepSpeed (ZeRO stage 3, arXiv 1910.02054)."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer as TorchOptimizer

from tuwen.train.engines.base import ENGINES
from tuwen.train.engines.deepspeed import MOMENTS, Zero
from tuwen.train.modules.groups import Group

# Weights that are gathered before their layers are called, in numbers.
FETCHED_AHEAD = 50_000_000


@ENGINES.register("zero3")
class Zero3(Zero):
    """Each weight is gathered when its layer is called, and given back after it.

    The model's tensors stay the objects that they were and are empty while they are not gathered; what a process has
    of one is ``ds_tensor``, an equal part of its numbers in one row, the last ones filled up with zeros.
    """

    splits = True

    def _stage(self) -> dict[str, Any]:
        stage: dict[str, Any] = {
            "stage": 3,
            # What is kept whole for longer would have to be gathered anew where it was changed in parts.
            "stage3_param_persistence_threshold": 0,
            "stage3_max_reuse_distance": 0,
            "stage3_prefetch_bucket_size": FETCHED_AHEAD,
        }
        if self.settings.offload:
            stage |= {"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}
        return stage

    def _split(self, config: dict[str, Any]) -> None:
        import deepspeed

        deepspeed.zero.Init(
            module=self.trained,
            config_dict_or_path=config,
            remote_device="cpu" if self.settings.offload else None,
        )
        # What is left to be put there are buffers.
        self.trained.to(self.accelerator.device)

    def _state(self, driven: TorchOptimizer) -> MutableMapping[Tensor, dict[str, Any]]:
        return _State(self._zero, driven)

    def drop_gradients(self) -> None:
        """As ``Zero.drop_gradients``."""
        self._zero.zero_grad(set_to_none=True)
        self._zero.averaged_gradients.clear()
        # Else a tensor that the next step does not reach would have the gradient of this one.
        self._zero.grad_partitions_flat_buffer.zero_()
        if self.settings.offload:
            self._zero.reset_cpu_buffers()

    def clip(self, groups: Sequence[Group], limit: float) -> float:
        """As ``Engine.clip``; DeepSpeed scales gradients while it updates, by the same norm."""
        self._zero.clip_grad = limit
        parts = [part for found in self._zero.get_fp32_grad_partitions().values() for part in found.values()]
        square = torch.stack([part.norm() for part in parts]).double().square().sum().to(self.accelerator.device)
        dist.all_reduce(square)
        return float(square.sqrt())

    def shape(self, tensor: Tensor) -> torch.Size:
        """As ``Engine.shape``."""
        found: torch.Size = getattr(tensor, "ds_shape", tensor.shape)
        return found

    def held(self, tensor: Tensor) -> Tensor:
        """As ``Engine.held``."""
        found: Tensor = getattr(tensor, "ds_tensor", tensor)
        return found

    def whole(self, held: Tensor, tensor: Tensor) -> Tensor:
        """As ``Engine.whole``."""
        if not hasattr(tensor, "ds_tensor"):
            return held.detach()
        part = held.detach().to(self.accelerator.device)
        row = part.new_empty(len(part) * self.accelerator.num_processes)
        dist.all_gather_into_tensor(row, part)
        shape = self.shape(tensor)
        return row[: shape.numel()].view(shape)

    def as_held(self, whole: Tensor, tensor: Tensor) -> Tensor:
        """As ``Engine.as_held``."""
        held = self.held(tensor)
        size, rank = held.numel(), self.accelerator.process_index
        part = whole.flatten()[size * rank : size * (rank + 1)]
        return functional.pad(part, (0, size - len(part))).to(held.device)

    @torch.no_grad()
    def put(self, tensor: Tensor, held: Tensor) -> None:
        """As ``Zero.put``."""
        from deepspeed.utils import safe_set_local_fp32_param

        # With ``offload`` these are two tensors.
        self.held(tensor).copy_(held)
        safe_set_local_fp32_param(tensor, held)
        # Nothing may be left of what was gathered before.
        self.give_back()

    def give_back(self) -> None:
        """As ``Engine.give_back``."""
        self._zero.empty_partition_cache()

    def release(self) -> None:
        """Take all that DeepSpeed put into the model out of it, and the model out of DeepSpeed."""
        from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

        super().release()
        FWD_MODULE_STACK.clear()


class _State(MutableMapping[Tensor, dict[str, Any]]):
    """What AdamW keeps of each tensor, in the parts in which processes hold it."""

    def __init__(self, zero: Any, driven: TorchOptimizer) -> None:
        self._driven = driven
        self._flat: dict[Tensor, Tensor] = {
            tensor: flat
            for group, flat in zip(zero.fp16_groups, zero.fp32_partitioned_groups_flat, strict=True)
            for tensor in group
        }

    def __getitem__(self, tensor: Tensor) -> dict[str, Any]:
        from deepspeed.utils import safe_get_local_optimizer_state

        flat = self._flat[tensor]
        if flat not in self._driven.state:
            raise KeyError
        moments = {key: safe_get_local_optimizer_state(tensor, key) for key in MOMENTS}
        return {"step": self._driven.state[flat]["step"].clone(), **moments}

    def __setitem__(self, tensor: Tensor, values: dict[str, Any]) -> None:
        from deepspeed.utils import safe_set_local_optimizer_state

        flat = self._flat[tensor]
        if flat not in self._driven.state:
            self._driven.state[flat] = {key: torch.zeros_like(flat) for key in MOMENTS}
        # The steps of a group are counted together.
        self._driven.state[flat]["step"] = values["step"].to(flat.device)
        for key in MOMENTS:
            safe_set_local_optimizer_state(tensor, values[key], key)

    def __delitem__(self, tensor: Tensor) -> None:
        self._driven.state.pop(self._flat[tensor], None)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._flat)

    def __len__(self) -> int:
        return len(self._flat)
