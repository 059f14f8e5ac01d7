"""Where an answer looked: attention from each of its words to the places of the pictures.

A model that answers computes with kernels that never write attention down. So the finished conversation is gone through
once more, by a twin of the language model: its own modules and configuration around the very same weights, so that the
engine that answers others meanwhile notices nothing. The twin reads the prompt as usual; only the answer's tokens are
then computed by plain attention, whose weights are kept from the hooks of each layer, averaged over heads. They take
layers × answer × prompt numbers, not the square of the whole conversation.

What is shown is where attention goes, not why a word was said (arXiv 1902.10186).

Shape legend: A heads, N answer tokens, L tokens of prompt and answer, S layers, T tokens of a picture, G groups of
layers, W words.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tuwen.config import TuwenError, first_line
from tuwen.infer.vlm import VLM
from tuwen.models.processing import Encoded
from tuwen.serve.demo.conversation import Conversation
from tuwen.vision.grid import Grid

# Numbers of all layers' weights together: 1 GiB.
MOST_NUMBERS = 2**28
_LATIN = re.compile(r"[A-Za-z0-9_'’-]")


def attention_map(conversation: Conversation, place: int, speaker: int) -> dict[str, Any]:
    """Attention of an answer's words over the pictures, as the page shows it.

    Args:
        conversation: of the visitor.
        place: of the turn, from 0.
        speaker: number of the speaker.

    Returns:
        ``words``; ``layers`` and ``heads``, how many there are; ``groups``, first and last layer, from 1, of each
        group; and of each of the ``pictures`` rows, columns, ``maps`` (base64 of bytes [G, W, rows, columns], each map
        from 0 to its own peak) and ``shares`` (of a word's attention, that which goes to the picture, [G, W]).

    Raises:
        TuwenError: why there is none.
    """
    chatter = conversation.speakers[speaker].chatter
    reply = conversation.reply(place, speaker)
    shots = conversation.shots(place)
    if not shots:
        raise TuwenError("the conversation has no picture")
    if not isinstance(chatter, VLM):
        raise TuwenError(
            "this model is computed by `transformers` alone, which does not tell where pictures' places are"
        )
    if not reply.token_ids:
        raise TuwenError("the answer has no words")
    encoded = conversation.prompt(place, speaker)
    assert isinstance(encoded, Encoded), "a VLM's processor encodes"
    opened = conversation.opened(place, speaker)
    grids = [chatter.processor.policy.plan(*picture.image.size) for picture in opened]
    shapes = [_token_shape(chatter, grid) for grid in grids]
    weights_SNL = answer_attention(chatter, encoded, reply.token_ids)
    words = list(grouped_words(reply.pieces))
    groups = layer_groups(len(weights_SNL))
    shown_GWL = np.stack(
        [
            np.stack([weights_SNL[first - 1 : last, start:stop].mean(axis=(0, 1)) for _, start, stop in words])
            for first, last in groups
        ]
    )
    return {
        "words": [word for word, _, _ in words],
        "layers": len(weights_SNL),
        "heads": chatter.model.config.text_config.num_attention_heads,
        "groups": groups,
        "pictures": [
            _picture(shot.name, shown_GWL[..., start:stop], grid, shape)
            for shot, (start, stop), grid, shape in zip(shots, encoded.rendered.image_spans, grids, shapes, strict=True)
        ],
    }


def _token_shape(chatter: VLM, grid: Grid) -> tuple[int, int]:
    """Rows and columns of a tile's tokens."""
    config = chatter.model.config
    patches = config.patch_grid(grid)
    shape: tuple[int, int] | None = config.connector.token_grid(patches)
    if shape is None:
        kind = config.connector_config["type"]
        raise TuwenError(f"the connector {kind!r} mixes places: its tokens stand for no part of the picture")
    return shape


@torch.inference_mode()
def answer_attention(chatter: VLM, encoded: Encoded, answer_ids: Sequence[int]) -> np.ndarray:
    """Attention of each token of an answer, as it was chosen, to all before it, averaged over heads: [S, N, L].

    Args:
        chatter: whose model is asked.
        encoded: the prompt.
        answer_ids: what was answered.

    Raises:
        TuwenError: when the model does not give its attention, or it would take too much memory.
    """
    model, device = chatter.model, chatter.device
    if len(set(getattr(model, "hf_device_map", {}).values())) > 1:
        raise TuwenError("the model is split over several devices")
    layers = model.config.text_config.num_hidden_layers
    prompt, length = len(encoded.rendered.input_ids), len(encoded.rendered.input_ids) + len(answer_ids)
    if layers * len(answer_ids) * length > MOST_NUMBERS:
        raise TuwenError(f"{layers} layers × {len(answer_ids)} × {length} tokens take too much memory")
    ids_1L = torch.tensor([[*encoded.rendered.input_ids, *answer_ids]], device=device)
    pixels = torch.from_numpy(encoded.pixel_values).to(device)
    images_PTH = model.get_image_features(pixels).pooler_output
    embeddings_1LH = model.model.embed(ids_1L[:, :prompt], images_PTH)
    answer_1NH = model.get_input_embeddings()(ids_1L[:, prompt:])
    embeddings_1LH = torch.cat([embeddings_1LH, answer_1NH.to(embeddings_1LH.dtype)], dim=1)
    kept: list[Tensor] = []
    try:
        twin = twin_of(model.get_decoder())
        # A token is chosen by what its predecessor saw.
        before = twin(inputs_embeds=embeddings_1LH[:, : prompt - 1], use_cache=True)
        twin.set_attn_implementation("eager")
        hooks = [
            module.register_forward_hook(lambda module, given, output: _keep(output, kept))
            for name, module in twin.named_modules()
            if name.rpartition(".")[2] in ("self_attn", "attn", "attention")
        ]
        twin(
            inputs_embeds=embeddings_1LH[:, prompt - 1 : length - 1],
            past_key_values=before.past_key_values,
            use_cache=True,
        )
        for hook in hooks:
            hook.remove()
    except Exception as error:
        # Other people's language models refuse in whatever way they please.
        kind = model.config.text_config.model_type
        raise TuwenError(f"{kind} does not give its attention: {first_line(error)}") from error
    if len(kept) != layers:
        kind = model.config.text_config.model_type
        raise TuwenError(f"{kind} gives attention of {len(kept)} of its {layers} layers")
    return torch.stack(kept).numpy()


def twin_of(language: nn.Module) -> Any:
    """Modules and configuration of their own around the same weights."""
    tensors = [*language.parameters(), *language.buffers()]
    return copy.deepcopy(language, {id(tensor): tensor for tensor in tensors})


def _keep(output: Any, kept: list[Tensor]) -> None:
    """The weights [1, A, N, L] among what a layer's attention returns, averaged over heads."""
    found = [part for part in output if isinstance(part, Tensor) and part.ndim == 4] if type(output) is tuple else []
    if found:
        kept.append(found[0][0].float().mean(dim=0).cpu())


def layer_groups(layers: int) -> list[tuple[int, int]]:
    """All layers, and thirds of them from the first to the last, as (first, last) from 1."""
    third = layers // 3
    if not third:
        return [(1, layers)]
    return [(1, layers), (1, third), (third + 1, layers - third), (layers - third + 1, layers)]


def grouped_words(pieces: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    """Pieces of an answer as words, with the tokens (start, stop) that they are of.

    Pieces of a word in Latin letters stand together; of Chinese, each piece stands for itself.
    """
    text, start, stop = "", 0, 0
    for piece, count in pieces:
        joined = bool(text) and bool(_LATIN.match(text[-1:])) and bool(_LATIN.match(piece[:1]))
        if not joined and text:
            yield text, start, stop
            text, start = "", stop
        text += piece
        stop += count
    if text and stop > start:
        yield text, start, stop


def _picture(name: str, weights_GWT: np.ndarray, grid: Grid, shape: tuple[int, int]) -> dict[str, Any]:
    whole = whole_picture(weights_GWT, grid, shape)
    peaks = whole.max(axis=(2, 3), keepdims=True)
    levels = np.rint(255 * whole / np.maximum(peaks, 1e-12)).astype(np.uint8)
    return {
        "name": name,
        "rows": whole.shape[2],
        "columns": whole.shape[3],
        "maps": base64.b64encode(levels.tobytes()).decode("ascii"),
        "shares": weights_GWT.sum(axis=2).round(4).tolist(),
    }


def whole_picture(weights_GWT: np.ndarray, grid: Grid, shape: tuple[int, int]) -> np.ndarray:
    """Weights of a picture's tokens laid out as the picture is; those of a thumbnail are added where they lie.

    Returns:
        [G, W, rows, columns] of the whole picture.
    """
    groups, words, _ = weights_GWT.shape
    rows, columns = shape
    tiles = weights_GWT.reshape(groups, words, grid.tiles, rows, columns)
    cut = grid.rows * grid.columns
    laid = tiles[:, :, :cut].reshape(groups, words, grid.rows, grid.columns, rows, columns)
    whole = laid.transpose(0, 1, 2, 4, 3, 5).reshape(groups, words, grid.rows * rows, grid.columns * columns)
    if grid.thumbnail:
        small = np.repeat(np.repeat(tiles[:, :, cut], grid.rows, axis=2), grid.columns, axis=3)
        whole = whole + small / cut
    return whole
