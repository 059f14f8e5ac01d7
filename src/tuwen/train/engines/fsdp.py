"""Weights, gradients and optimiser split over processes by torch's ``fully_shard`` (FSDP2, arXiv 2304.11277)."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from tuwen.config import TuwenError
from tuwen.models.modeling import TuwenForConditionalGeneration
from tuwen.models.nf4 import is_packed
from tuwen.train.engines.base import ENGINES, Engine
from tuwen.train.losses import TrainedModel
from tuwen.train.settings import Distribution


@ENGINES.register("fsdp")
class FullyShard(Engine):
    """Each layer of encoder and language model is gathered when it is called, and given back after it."""

    splits = True

    def __init__(self, trained: TrainedModel, settings: Distribution, accelerator: Accelerator) -> None:
        super().__init__(trained, settings, accelerator)
        processes, replicas = accelerator.num_processes, settings.replicas
        if processes == 1:
            raise TuwenError("distribution.type: fsdp needs several processes; start them with --nproc, or say ddp")
        if processes % replicas:
            raise TuwenError(f"distribution.replicas: {processes} processes cannot be split into {replicas} groups")
        if any(is_packed(tensor) for tensor in trained.model.parameters()):
            raise TuwenError(
                "distribution.type: fsdp cannot split weights in 4 bits; say ddp, or another base than nf4"
            )
        device = accelerator.device.type
        mesh = (
            init_device_mesh(device, (processes,), mesh_dim_names=("shard",))
            if replicas == 1
            else init_device_mesh(device, (replicas, processes // replicas), mesh_dim_names=("replica", "shard"))
        )
        # Gathered and computed with in the precision that autocast would take, added up in fp32.
        bf16 = accelerator.mixed_precision == "bf16" and device != "cpu"
        precision = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        offload = CPUOffloadPolicy() if settings.offload else OffloadPolicy()
        for block in blocks_of(trained.model):
            fully_shard(block, mesh=mesh, mp_policy=precision, offload_policy=offload)
        fully_shard(trained, mesh=mesh, mp_policy=precision, offload_policy=offload)
        register_fsdp_forward_method(trained, "generate")

    def give_back(self) -> None:
        """What belongs to no layer stays gathered after a forward pass, for the backward pass."""
        for module in self.trained.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def blocks_of(model: TuwenForConditionalGeneration) -> list[nn.Module]:
    """Layers that are gathered as one: what each part of the model says must not be split."""
    found = []
    for part in (model.model.vision_tower, model.model.language_model):
        names = set(getattr(part, "_no_split_modules", None) or ())
        found += [module for module in part.modules() if type(module).__name__ in names]
    return found
