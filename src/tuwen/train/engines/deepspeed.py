"""Gradients and optimiser split over processes by DeepSpeed (ZeRO stage 2, arXiv 1910.02054)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer as TorchOptimizer

from tuwen.config import MissingExtraError, TuwenError
from tuwen.train.engines.base import ENGINES, Engine
from tuwen.train.losses import TrainedModel
from tuwen.train.modules.optimizer import Group, GroupedOptimizer
from tuwen.train.settings import Distribution

# Gradients that are added up over processes at once, in numbers.
REDUCED_AT_ONCE = 500_000_000
# What AdamW keeps of each number.
MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero(Engine):
    """What the stages of ZeRO have in common; ``zero3`` has another file.

    DeepSpeed takes over the optimiser, so it begins its work in ``bind``. The passes themselves are torch's, in fp32
    weights under autocast, as with the other engines; gradients are added up in fp32.
    """

    def __init__(self, trained: TrainedModel, settings: Distribution, accelerator: Accelerator) -> None:
        super().__init__(trained, settings, accelerator)
        if find_spec("deepspeed") is None:
            raise MissingExtraError("deepspeed", "deepspeed")
        if accelerator.num_processes == 1:
            raise TuwenError(
                f"distribution.type: {settings.type} needs several processes; start them with --nproc, or say ddp"
            )

    def bind(self, optimizer: GroupedOptimizer) -> None:
        """Hand model and optimiser to DeepSpeed, whose optimiser takes the place of torch's."""
        import deepspeed

        super().bind(optimizer)
        # It tells of each of its settings.
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        (made,) = optimizer.torch_optimizers
        tensors = [tensor for group in optimizer.groups for tensor in group.tensors]
        numbers = sum(tensor.numel() for tensor in tensors)
        config = self._config({"reduce_bucket_size": min(numbers, REDUCED_AT_ONCE), **self._stage()})
        self._split(config)
        self.module, *_ = deepspeed.initialize(
            model=self.trained, optimizer=made, config=config, dist_init_required=False
        )
        self._zero: Any = self.module.optimizer
        driving = _ZeroOptimizer(self.module, made, self._state(made), self.drop_gradients)
        optimizer.replace(lambda driven: cast(TorchOptimizer, driving))
        self._reached: set[int] = set()
        self._hooks = [
            tensor.register_post_accumulate_grad_hook(lambda reached: self._reached.add(id(reached)))
            for tensor in tensors
        ]

    def _stage(self) -> dict[str, Any]:
        """DeepSpeed's settings of the stage."""
        raise NotImplementedError

    def _split(self, config: dict[str, Any]) -> None:
        """Put the model onto the device in parts, where it is not to be there as a whole."""

    def _state(self, driven: TorchOptimizer) -> MutableMapping[Tensor, dict[str, Any]]:
        """What the optimiser keeps of each of the model's tensors, held as they are."""
        raise NotImplementedError

    def drop_gradients(self) -> None:
        """Also of a step that is not taken, after which nothing of its gradients may be left."""
        raise NotImplementedError

    def _config(self, stage: dict[str, Any]) -> dict[str, Any]:
        return {
            "train_micro_batch_size_per_gpu": 1,
            # Losses come normalised over the whole step; how many batches there are is said before each.
            "gradient_accumulation_steps": 1,
            "steps_per_print": None,
            "zero_optimization": stage,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "torch_autocast": {
                "enabled": self.accelerator.mixed_precision == "bf16",
                "dtype": "bfloat16",
                # Gradients of those that are named here would be added up in bf16.
                "lower_precision_safe_modules": [],
            },
        }

    def backward(self, loss: Tensor) -> None:
        """As ``Engine.backward``; DeepSpeed averages over processes, too."""
        module: Any = self.module
        module.backward(loss * self.accelerator.num_processes)

    def accumulating(self, last: bool) -> AbstractContextManager[object]:
        """Parts of gradients are gathered after each batch, and made ready for the update after the last."""
        module: Any = self.module
        module.set_gradient_accumulation_boundary(last)
        return nullcontext()

    @torch.no_grad()
    def update(self, place: float) -> dict[str, float]:
        """As ``Engine.update``.

        DeepSpeed updates tensors in a row, where those without a gradient would be decayed with the others.
        """
        groups = [group for group in self.optimizer.groups if group.weight_decay]
        unreached = [tensor for group in groups for tensor in group.tensors if not self.reached(tensor)]
        before = [self.held(tensor).detach().clone() for tensor in unreached]
        rates = super().update(place)
        for tensor, held in zip(unreached, before, strict=True):
            self.put(tensor, held)
        return rates

    @torch.no_grad()
    def put(self, tensor: Tensor, held: Tensor) -> None:
        """Give a tensor new values, and the part of it that this process updates.

        Args:
            tensor: of the model.
            held: what this process is to hold of it.
        """
        raise NotImplementedError

    def assign(self, tensor: Tensor, value: Tensor) -> None:
        """As ``Engine.assign``."""
        self.put(tensor, self.as_held(value, tensor))

    def reached(self, tensor: Tensor) -> bool:
        """Whether a tensor has ever had a gradient, which DeepSpeed takes away from it."""
        return id(tensor) in self._reached

    def release(self) -> None:
        """Take all that DeepSpeed put into the model out of it."""
        for hook in self._hooks:
            hook.remove()
        module: Any = self.module
        module.destroy()
        self.module = self.trained
        self.accelerator.free_memory()


@ENGINES.register("zero2")
class Zero2(Zero):
    """Every process has all weights, and the optimiser's state and summed gradients of its part of them."""

    def _stage(self) -> dict[str, Any]:
        stage: dict[str, Any] = {"stage": 2}
        if self.settings.offload:
            stage["offload_optimizer"] = {"device": "cpu"}
        return stage

    def _state(self, driven: TorchOptimizer) -> MutableMapping[Tensor, dict[str, Any]]:
        return _State(self._zero, driven)

    def drop_gradients(self) -> None:
        """As ``Zero.drop_gradients``."""
        zero = self._zero
        zero.zero_grad(set_to_none=True)
        zero.micro_step_id = -1
        if zero.cpu_offload:
            zero.reset_cpu_buffers()
        else:
            for place in zero.averaged_gradients:
                zero.averaged_gradients[place] = None
                zero.all_grad_tensors[place] = None

    def clip(self, groups: Sequence[Group], limit: float) -> float:
        """As ``Engine.clip``; DeepSpeed scales gradients while it updates, by the same norm."""
        self._zero.clip_grad = limit
        norm = float(self._zero.scaled_global_norm())
        # DeepSpeed's sign of a norm that is not a number.
        return norm if norm >= 0 else math.nan

    @torch.no_grad()
    def put(self, tensor: Tensor, held: Tensor) -> None:
        """As ``Zero.put``."""
        from deepspeed.utils import safe_set_full_fp32_param

        tensor.copy_(held)
        safe_set_full_fp32_param(tensor, tensor.detach())


class _ZeroOptimizer:
    """DeepSpeed's optimiser in the place of the one it drives; its state is that of the model's tensors.

    Args:
        engine: DeepSpeed's.
        driven: torch's, whose tensors are now the flat parts of this process.
        state: of the model's tensors.
        drop_gradients: leaves nothing of them.
    """

    def __init__(
        self,
        engine: Any,
        driven: TorchOptimizer,
        state: MutableMapping[Tensor, dict[str, Any]],
        drop_gradients: Callable[[], None],
    ) -> None:
        self._engine, self._driven, self._drop_gradients = engine, driven, drop_gradients
        self.state = state

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._driven.param_groups

    def step(self) -> None:
        self._engine.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._drop_gradients()


class _State(MutableMapping[Tensor, dict[str, Any]]):
    """What AdamW keeps of each tensor, gathered when it is asked for; all processes must ask together."""

    def __init__(self, zero: Any, driven: TorchOptimizer) -> None:
        self._zero, self._driven = zero, driven
        self._place = {tensor: place for place, group in enumerate(zero.bit16_groups) for tensor in group}

    def _flat(self, tensor: Tensor) -> Tensor:
        flat: Tensor = self._zero.single_partition_of_fp32_groups[self._place[tensor]]
        return flat

    def _link(self, tensor: Tensor) -> None:
        """Let DeepSpeed find the tensor's part of the flat moments: by itself it looks before all groups have them."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        group = self._zero.bit16_groups[self._place[tensor]]
        lazy_init_hp_params_optimizer_state(group, self._flat(tensor), self._driven.state)

    def __getitem__(self, tensor: Tensor) -> dict[str, Any]:
        from deepspeed.utils import safe_get_full_optimizer_state

        flat = self._flat(tensor)
        if flat not in self._driven.state:
            raise KeyError
        self._link(tensor)
        moments = {key: safe_get_full_optimizer_state(tensor, key) for key in MOMENTS}
        return {"step": self._driven.state[flat]["step"].clone(), **moments}

    def __setitem__(self, tensor: Tensor, values: dict[str, Any]) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        flat = self._flat(tensor)
        if flat not in self._driven.state:
            self._driven.state[flat] = {key: torch.zeros_like(flat) for key in MOMENTS}
        self._link(tensor)
        # The steps of a group are counted together.
        self._driven.state[flat]["step"] = values["step"].to(flat.device)
        for key in MOMENTS:
            safe_set_full_optimizer_state(tensor, values[key], key)

    def __delitem__(self, tensor: Tensor) -> None:
        self._driven.state.pop(self._flat(tensor), None)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)
