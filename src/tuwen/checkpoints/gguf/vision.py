"""Vision encoders and connectors as llama.cpp's graph for LLaVA has them: its file beside the language model's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import gguf
import torch
from torch import Tensor

from tuwen.checkpoints.gguf.contents import Contents, Value
from tuwen.checkpoints.renames import Change, Rule, same
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.encoders.base import encoder_kind
from tuwen.vision import ImagePolicy

ENCODERS = ("chinese_clip_vision_model", "clip_vision_model", "siglip_vision_model")
OURS, CONNECTOR = "model.vision_tower.", "model.connector."
LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
GELU, SILU = ("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh"), ("silu", "swish")
# Activations of an encoder and how llama.cpp is told of them; of gelu it has the tanh form alone.
ACTIVATIONS: Mapping[str, dict[str, Value]] = {
    "quick_gelu": {},
    **{name: {gguf.Keys.ClipVision.USE_GELU: True} for name in GELU},
    **{name: {gguf.Keys.ClipVision.USE_SILU: True} for name in SILU},
}
# With what llama.cpp pads a picture that is not square.
PADDING = (122, 116, 104)
FEATURE_LAYER = "clip.vision.feature_layer"
POSITIONS = "v.position_embd.weight"
ClassToken = Literal["first", "last"]


def vision_contents(
    config: TuwenConfig, policy: ImagePolicy, ours: Mapping[str, Tensor], place: ClassToken | None
) -> Contents:
    """The file of a vision encoder and a connector.

    Args:
        config: of the model.
        policy: what is done with pictures.
        ours: our tensors or their likes on ``meta``.
        place: where the llama.cpp that will read the file puts the class token among the patches; None for the usual.

    Raises:
        TuwenError: naming the part that llama.cpp's graph does not have.
    """
    vision = config.vision_config
    _check_encoder(vision)
    projector = _projector(config)
    layers = _layers(config)
    notes = [*_picture_notes(policy, vision.image_size), *_gelu_notes(config)]
    has_class = encoder_kind(vision).prefix(vision) > 0
    if place and not has_class:
        raise TuwenError(f"--class-token: {vision.model_type} has no class token; leave it out")
    place = place or "last"
    if has_class:
        notes.append(_ORDERS[place])
    return Contents(
        architecture="clip",
        values=_values(config, policy, layers),
        rules=[*_encoder_rules(config, ours, max(layers), rolled=has_class and place == "last"), *projector],
        exact=frozenset({POSITIONS}),
        notes=notes,
    )


_ORDERS: dict[ClassToken, str] = {
    "last": "written for llama.cpp as released since May 2025, which puts the class token after the patches (its issue "
    "25814): the first patch of a picture is left out, and the class token stands at the end in its place; for a "
    "llama.cpp without that fault use --class-token first",
    "first": "written for a llama.cpp that puts the class token before the patches; those released since May 2025 do "
    "not (its issue 25814) and answer wrongly about pictures with this file: use --class-token last for them",
}


def _check_encoder(vision: Any) -> None:
    if vision.model_type not in ENCODERS:
        known = ", ".join(ENCODERS)
        raise TuwenError(
            f"vision_config.model_type: llama.cpp's graph for LLaVA has {known}; found {vision.model_type}"
        )
    for key in ("image_size", "patch_size"):
        if not isinstance(getattr(vision, key), int):
            raise TuwenError(f"vision_config.{key}: llama.cpp takes one number; found {getattr(vision, key)!r}")
    if vision.hidden_act not in ACTIVATIONS:
        raise TuwenError(
            f"vision_config.hidden_act: llama.cpp has {', '.join(ACTIVATIONS)}; found {vision.hidden_act!r}"
        )
    if vision.intermediate_size == vision.hidden_size:
        raise TuwenError(
            f"vision_config.intermediate_size: {vision.intermediate_size} is hidden_size too, by which llama.cpp takes "
            "the two layers of each MLP for those of an old file and exchanges them"
        )


def _layers(config: TuwenConfig) -> list[int]:
    """Hidden states that the connector gets, counted from 0 (the embedding)."""
    feature, states = config.feature, int(config.vision_config.num_hidden_layers) + 1
    layers = [layer % states for layer in feature.layers]
    if layers != sorted(set(layers)) or max(layers) == 0:
        raise TuwenError(f"vision_feature.layers: llama.cpp takes ascending ones above 0; found {feature.layers}")
    if feature.post_layernorm and len(layers) > 1:
        raise TuwenError("vision_feature.post_layernorm: llama.cpp applies it to the last of several layers alone")
    if feature.select == "all" and encoder_kind(config.vision_config).prefix(config.vision_config):
        raise TuwenError("vision_feature.select: llama.cpp leaves out the class token (patch); found 'all'")
    return layers


def _values(config: TuwenConfig, policy: ImagePolicy, layers: list[int]) -> dict[str, Value]:
    vision, keys = config.vision_config, gguf.Keys.ClipVision
    return {
        gguf.Keys.Clip.HAS_VISION_ENCODER: True,
        # Asked for by versions before May 2025.
        "clip.has_llava_projector": True,
        gguf.Keys.Clip.PROJECTOR_TYPE: "mlp",
        keys.IMAGE_SIZE: vision.image_size,
        keys.PATCH_SIZE: vision.patch_size,
        keys.EMBEDDING_LENGTH: vision.hidden_size,
        keys.FEED_FORWARD_LENGTH: vision.intermediate_size,
        keys.PROJECTION_DIM: config.text_config.hidden_size,
        keys.BLOCK_COUNT: max(layers),
        keys.Attention.HEAD_COUNT: vision.num_attention_heads,
        keys.Attention.LAYERNORM_EPS: float(vision.layer_norm_eps),
        keys.IMAGE_MEAN: [float(value) for value in policy.mean],
        keys.IMAGE_STD: [float(value) for value in policy.std],
        FEATURE_LAYER: layers,
        **ACTIVATIONS[vision.hidden_act],
    }


def _encoder_rules(config: TuwenConfig, ours: Iterable[str], depth: int, *, rolled: bool) -> list[Rule]:
    """Tensors of the encoder, without those that no chosen feature depends on."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, depth)
    rules = []
    for name in ours:
        if not name.startswith(OURS):
            continue
        rest = name.removeprefix(OURS).removeprefix("vision_model.")
        layer = LAYER.match(rest)
        unused = rest.startswith("head.") or (rest.startswith("post_layernorm.") and not config.feature.post_layernorm)
        if unused or (layer and int(layer[1]) >= depth):
            continue
        theirs = names.get_name(f"vision_tower.vision_model.{rest}", try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise TuwenError(f"{name}: llama.cpp's graph for LLaVA has no such weight")
        if theirs == POSITIONS and rolled:
            rules.append(Rule(theirs=(theirs,), ours=(name,), forward=_rolled(1), backward=_rolled(-1)))
        else:
            rules.append(same(theirs, name))
    return rules


def _rolled(rows: int) -> Change:
    return lambda tensors: [tensors[0].roll(rows, dims=0)]


def _projector(config: TuwenConfig) -> list[Rule]:
    name = config.connector_config["type"]
    if name not in CONNECTORS:
        raise TuwenError(
            f"connector_config.type: llama.cpp's graph for LLaVA has {' and '.join(CONNECTORS)}; found {name}"
        )
    return CONNECTORS[name](config)


def _mlp(config: TuwenConfig) -> list[Rule]:
    settings = config.connector.model_dump()
    for key, right in (("depth", (2,)), ("input_norm", (False,)), ("activation", GELU)):
        if settings[key] not in right:
            raise TuwenError(
                f"connector_config.{key}: the projector of llama.cpp's graph for LLaVA has "
                f"{' or '.join(map(str, right))}; found {settings[key]}"
            )
    parts = [f"{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")]
    return [same(f"mm.{part}", f"{CONNECTOR}layers.{part}") for part in parts]


def _linear(config: TuwenConfig) -> list[Rule]:
    """As two layers: llama.cpp always has a gelu after the first, and gelu(x) - gelu(-x) = x in any of its forms."""
    width, has_bias = config.text_config.hidden_size, config.connector.model_dump()["bias"]

    def weights(tensors: list[Tensor]) -> list[Tensor]:
        eye = torch.eye(width, device=tensors[0].device)
        return [torch.cat([tensors[0], -tensors[0]]), torch.cat([eye, -eye], dim=1)]

    def biases(tensors: list[Tensor]) -> list[Tensor]:
        return [torch.zeros(2 * width), tensors[0] if tensors else torch.zeros(width)]

    return [
        Rule(
            theirs=("mm.0.weight", "mm.2.weight"),
            ours=(f"{CONNECTOR}projection.weight",),
            forward=lambda tensors: [tensors[0][:width]],
            backward=weights,
        ),
        Rule(
            theirs=("mm.0.bias", "mm.2.bias"),
            ours=(f"{CONNECTOR}projection.bias",) if has_bias else (),
            forward=lambda tensors: tensors[1:] if has_bias else [],
            backward=biases,
        ),
    ]


CONNECTORS: dict[str, Callable[[TuwenConfig], list[Rule]]] = {"linear": _linear, "mlp": _mlp}


def _gelu_notes(config: TuwenConfig) -> list[str]:
    exact = [config.connector.model_dump().get("activation"), config.vision_config.hidden_act]
    if "gelu" not in exact:
        return []
    return ["llama.cpp computes gelu by its tanh form, this model by the error function; they differ by 0.0005 at most"]


def _picture_notes(policy: ImagePolicy, side: int) -> list[str]:
    tile = policy.plan(1, 1)
    if policy.type_name not in _PICTURES:
        raise TuwenError(
            f"image_policy.type: llama.cpp's graph for LLaVA takes one square picture ({', '.join(_PICTURES)}); "
            f"found {policy.type_name}"
        )
    if (tile.width, tile.height) != (side, side):
        raise TuwenError(
            f"image_policy: tiles have {tile.width}x{tile.height} pixels; llama.cpp takes vision_config.image_size, "
            f"{side}x{side}"
        )
    notes = [_PICTURES[policy.type_name]] if _PICTURES[policy.type_name] else []
    colour = tuple(int(value * 255) for value in policy.mean)
    if policy.type_name == "pad_square" and colour != PADDING:
        notes.append(f"llama.cpp pads with the colour {PADDING}, this model was trained with {colour}")
    if policy.type_name == "center_crop" and getattr(policy, "size", side) != side:
        notes.append(f"llama.cpp resizes to {side} pixels, this model to {getattr(policy, 'size', side)} and then cuts")
    if policy.resample != "bicubic":
        notes.append(f"llama.cpp resizes pictures by the bicubic filter, this model by the {policy.resample} one")
    return notes


_PICTURES = {
    "square": "llama.cpp pads a picture that is not square; this model was trained on squeezed ones: make pictures "
    "square first",
    "center_crop": "llama.cpp pads a picture that is not square; this model was trained on the middle of it: cut "
    "pictures first",
    "pad_square": "",
}
