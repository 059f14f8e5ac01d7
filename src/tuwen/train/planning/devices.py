"""What accelerators can do, by their makers' data sheets: dense products in 16 bits, added up in 32, and memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tuwen.config import TuwenError, unknown_name


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator.

    Attributes:
        name: as torch reports it.
        peak: FLOP/s of dense matrix products in 16 bits.
        memory: GiB.
        bf16: whether its matrix units know bf16; else fp16 alone.
    """

    name: str
    peak: float
    memory: float
    bf16: bool = True


_ALL = (
    Device("NVIDIA B200", 2250e12, 180),
    Device("NVIDIA H200", 989e12, 140),
    Device("NVIDIA H200 NVL", 835e12, 140),
    Device("NVIDIA H100 80GB HBM3", 989e12, 80),
    Device("NVIDIA H100 NVL", 835e12, 94),
    Device("NVIDIA H100 PCIe", 756e12, 80),
    Device("NVIDIA GH200 480GB", 989e12, 96),
    Device("NVIDIA H800", 989e12, 80),
    Device("NVIDIA H800 PCIe", 756e12, 80),
    Device("NVIDIA H20", 148e12, 96),
    Device("NVIDIA A100-SXM4-80GB", 312e12, 80),
    Device("NVIDIA A100-SXM4-40GB", 312e12, 40),
    Device("NVIDIA A100 80GB PCIe", 312e12, 80),
    Device("NVIDIA A100-PCIE-40GB", 312e12, 40),
    Device("NVIDIA A800-SXM4-80GB", 312e12, 80),
    Device("NVIDIA A800 80GB PCIe", 312e12, 80),
    Device("NVIDIA A40", 150e12, 45),
    Device("NVIDIA A30", 165e12, 24),
    Device("NVIDIA A10", 125e12, 22),
    Device("NVIDIA L40S", 362e12, 45),
    Device("NVIDIA L40", 181e12, 45),
    Device("NVIDIA L20", 119e12, 45),
    Device("NVIDIA L4", 121e12, 22),
    Device("NVIDIA RTX 6000 Ada Generation", 364e12, 47),
    Device("NVIDIA RTX A6000", 155e12, 47),
    Device("NVIDIA GeForce RTX 5090", 210e12, 31),
    Device("NVIDIA GeForce RTX 4090", 165e12, 24),
    Device("NVIDIA GeForce RTX 3090", 71e12, 24),
    Device("Tesla V100-SXM2-32GB", 125e12, 32, bf16=False),
    Device("Tesla V100-SXM2-16GB", 125e12, 16, bf16=False),
    Device("Tesla V100-PCIE-32GB", 112e12, 32, bf16=False),
    Device("Tesla T4", 65e12, 15, bf16=False),
    Device("AMD Instinct MI300X", 1307e12, 192),
)
DEVICES = {device.name: device for device in _ALL}
# What people call them.
SHORT = {
    "B200": "NVIDIA B200",
    "H200": "NVIDIA H200",
    "H100": "NVIDIA H100 80GB HBM3",
    "H800": "NVIDIA H800",
    "H20": "NVIDIA H20",
    "A100": "NVIDIA A100-SXM4-80GB",
    "A100-40G": "NVIDIA A100-SXM4-40GB",
    "A800": "NVIDIA A800-SXM4-80GB",
    "L40S": "NVIDIA L40S",
    "L20": "NVIDIA L20",
    "A10": "NVIDIA A10",
    "5090": "NVIDIA GeForce RTX 5090",
    "4090": "NVIDIA GeForce RTX 4090",
    "3090": "NVIDIA GeForce RTX 3090",
    "V100": "Tesla V100-SXM2-32GB",
    "T4": "Tesla T4",
    "MI300X": "AMD Instinct MI300X",
}


def find_device(name: str) -> Device:
    """A device by the name that torch reports or the one that people use, e.g. ``A100``.

    Raises:
        TuwenError: naming those that are known.
    """
    found = DEVICES.get(SHORT.get(name, name))
    if found is None:
        raise TuwenError(f"--device: {unknown_name('device', name, list(SHORT))}; for others say --flops")
    return found


def peak_flops(name: str, dtype: torch.dtype) -> float | None:
    """FLOP/s of dense matrix products, or None where they are not known.

    Args:
        name: as ``torch.cuda.get_device_name`` gives it.
        dtype: that is multiplied.
    """
    device = DEVICES.get(name)
    if device is None or dtype not in (torch.bfloat16, torch.float16):
        return None
    return device.peak if device.bf16 or dtype == torch.float16 else None
