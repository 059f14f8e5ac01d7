"""What llama.cpp computes from a GGUF file, in a few lines that know nothing of Tuwen.

The vision graph is that of its projector type ``mlp``; the tokenizers are its ``llama`` (SentencePiece) one, which
merges the neighbours of the highest score, leftmost first. Both were compared with llama.cpp itself.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor
from torch.nn import functional

BLANK = "\u2581"


class GgufFile:
    """Settings and tensors of a file, the tensors in float32."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self.values: dict[str, Any] = {key: field.contents() for key, field in reader.fields.items()}
        self.types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
        self.tensors = {
            tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
            for tensor in reader.tensors
        }

    def linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        eps = self.values["clip.vision.attention.layer_norm_epsilon"]
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return functional.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def picture_tokens(file: GgufFile, pixels_3HW: Tensor, class_token: str) -> Tensor:
    """What the language model gets for a picture, [tokens, width].

    Args:
        file: the mmproj file.
        pixels_3HW: normalised.
        class_token: ``first`` as the graph was before May 2025, ``last`` as it is since: in both, tokens are taken from
            the second place on.
    """
    values, tensors = file.values, file.tensors
    patch, heads = values["clip.vision.patch_size"], values["clip.vision.attention.head_count"]
    layers = values["clip.vision.feature_layer"]
    x = functional.conv2d(pixels_3HW[None], tensors["v.patch_embd.weight"], tensors.get("v.patch_embd.bias"), patch)
    x = x[0].flatten(1).T
    patches = len(x)
    if has_class := "v.class_embd" in tensors:
        token = tensors["v.class_embd"][None]
        x = torch.cat([token, x] if class_token == "first" else [x, token])
    x = x + tensors["v.position_embd.weight"]
    x = file.norm("v.pre_ln", x) if "v.pre_ln.weight" in tensors else x
    chosen = []
    for layer in range(max(layers)):
        chosen += [x] if layer in layers else []
        x = _layer(file, f"v.blk.{layer}", x, heads)
    x = file.norm("v.post_ln", x) if "v.post_ln.weight" in tensors else x
    features = torch.cat([*chosen, x], dim=-1)[int(has_class) :][:patches]
    return file.linear("mm.2", functional.gelu(file.linear("mm.0", features), approximate="tanh"))


def _layer(file: GgufFile, name: str, x: Tensor, heads: int) -> Tensor:
    normed = file.norm(f"{name}.ln1", x)
    query, key, value = (
        file.linear(f"{name}.attn_{part}", normed).unflatten(-1, (heads, -1)).transpose(0, 1) for part in "qkv"
    )
    mixed = functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
    x = x + file.linear(f"{name}.attn_out", mixed)
    up = file.linear(f"{name}.ffn_up", file.norm(f"{name}.ln2", x))
    if file.values.get("clip.use_gelu"):
        up = functional.gelu(up, approximate="tanh")
    else:
        up = functional.silu(up) if file.values.get("clip.use_silu") else up * torch.sigmoid(1.702 * up)
    return x + file.linear(f"{name}.ffn_down", up)


def sentencepiece_ids(file: GgufFile, text: str) -> list[int]:
    """Token ids of a stretch of text after a control token."""
    values = file.values
    ids = {token: index for index, token in enumerate(values["tokenizer.ggml.tokens"])}
    scores = values["tokenizer.ggml.scores"]
    parts = [*(" " * values["tokenizer.ggml.add_space_prefix"] + text).replace(" ", BLANK)] if text else []
    while True:
        joined = [(scores[ids[a + b]], -place) for place, (a, b) in enumerate(pairwise(parts)) if a + b in ids]
        if not joined:
            break
        place = -max(joined)[1]
        parts[place : place + 2] = ["".join(parts[place : place + 2])]
    return [index for part in parts for index in ([ids[part]] if part in ids else _bytes(ids, part))]


def _bytes(ids: dict[str, int], part: str) -> list[int]:
    return [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
