"""``TuwenProcessor``: messages and pictures → what the model takes.

Two doors lead to the same code. ``encode`` takes messages and is what Tuwen itself uses everywhere. ``__call__``
takes text with ``<image>`` in it and is the protocol of `transformers`, which vLLM's Transformers backend calls.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import PIL.Image
from transformers import AutoProcessor, BaseImageProcessor, BatchFeature

# Under its shorter name `transformers` 5.17 gives this class only where a package that is not needed here is installed.
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.processing_utils import MultiModalData, ProcessorMixin

import tuwen.models.language.sentencepiece  # noqa: F401  # its tokenizer is found by name from here on
from tuwen.chat.messages import Message
from tuwen.chat.renderer import Rendered, Renderer
from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.vision import ImagePolicy, parse_policy


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as the model takes it.

    Attributes:
        rendered: token ids, labels, and where the pictures stand.
        pixel_values: tiles of all pictures, float32 [tiles, 3, height, width]; no tiles for text alone.
        image_tiles: tiles of each picture.
    """

    rendered: Rendered
    pixel_values: np.ndarray
    image_tiles: tuple[int, ...]


class TuwenImageProcessor(BaseImageProcessor):
    """An image policy behind the interface of `transformers`.

    Args:
        image_policy: ``{"type": NAME, …settings}``, see ``tuwen.vision``.
    """

    model_input_names = ["pixel_values", "image_tiles"]

    def __init__(self, image_policy: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy = parse_policy(image_policy or {"type": "square", "size": 224})
        self.image_policy = policy.to_dict()
        tile = policy.plan(1, 1)
        self.size = {"height": tile.height, "width": tile.width}

    @property
    def policy(self) -> ImagePolicy:
        """``image_policy``, checked."""
        return parse_policy(self.image_policy)

    def preprocess(self, images: Any, return_tensors: str | None = None, **kwargs: Any) -> BatchFeature:
        """Pictures → ``pixel_values`` [tiles, 3, height, width] and ``image_tiles`` [pictures].

        Args:
            images: a picture (PIL or array [height, width, 3]) or nested lists of them.
            return_tensors: ``"pt"`` or ``"np"``.
            **kwargs: settings of other image processors that generic callers pass on; not used.
        """
        policy = self.policy
        tiles = [policy.apply(_as_pil(image)) for image in _flat(images)]
        data = {
            "pixel_values": np.concatenate(tiles) if tiles else self.no_pixels(),
            "image_tiles": np.array([len(tile) for tile in tiles], dtype=np.int64),
        }
        return BatchFeature(data=data, tensor_type=return_tensors)

    __call__ = preprocess

    def no_pixels(self) -> np.ndarray:
        """The pixels of no picture at all: [0, 3, height, width]."""
        return np.zeros((0, 3, self.size["height"], self.size["width"]), dtype=np.float32)


class TuwenProcessor(ProcessorMixin):
    """Tokenizer, chat template and image policy of a model folder.

    Args:
        image_processor: cuts and normalises pictures.
        tokenizer: a fast tokenizer that has ``image_token`` as one special token.
        chat_template: Jinja text with generation marks.
        tokens_per_tile: tokens that the connector gives for a tile.
        image_token: the token that stands for a picture in the prompt.
        text_tokens: tokens that text, a user's too, may write, such as ``<ref>``.
        image_path_bytes: whether a picture's places hold the bytes of its name and then image tokens, as in Qwen-VL,
            in place of image tokens alone.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        tokens_per_tile: int = 1,
        image_token: str = "<image>",
        text_tokens: Sequence[str] = (),
        image_path_bytes: bool = False,
        **kwargs: Any,
    ) -> None:
        self.tokens_per_tile = tokens_per_tile
        self.image_token = image_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
        self.text_tokens = list(text_tokens)
        self.image_path_bytes = image_path_bytes
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    @classmethod
    def for_model(cls, config: TuwenConfig, policy: ImagePolicy, tokenizer: Any, chat_template: str) -> TuwenProcessor:
        """The processor that fits a model's configuration.

        Raises:
            TuwenError: when the connector cannot take tiles of this policy.
        """
        tokens = config.connector.num_tokens(config.patch_grid(policy.plan(1, 1)))
        return cls(TuwenImageProcessor(policy.to_dict()), tokenizer, chat_template, tokens_per_tile=tokens)

    @cached_property
    def policy(self) -> ImagePolicy:
        """The image policy."""
        policy: ImagePolicy = self.image_processor.policy
        return policy

    @cached_property
    def renderer(self) -> Renderer:
        """The renderer of this folder's tokenizer and template."""
        return Renderer(
            self.tokenizer, self.chat_template or "", image_token=self.image_token, text_tokens=self.text_tokens
        )

    def num_image_tokens(self, width: int, height: int) -> int:
        """Tokens that a picture of this size in pixels takes up; nothing is decoded."""
        return self.policy.plan(width, height).tiles * self.tokens_per_tile

    def image_name_ids(self, name: str, length: int) -> list[int]:
        """What stands in the places of a picture called ``name`` (a path or address, or empty), [length].

        Raises:
            TuwenError: when its bytes leave no room for the two image tokens that the original asks for.
        """
        ids: list[int] = []
        if self.image_path_bytes:
            # The original normalises the whole prompt, so the path too; a byte's value is its token's id.
            ids = list(unicodedata.normalize("NFC", name).encode("utf-8", errors="surrogateescape"))
            if len(ids) > length - 2:
                raise TuwenError(
                    f"picture {name[:40]!r}…: its name has {len(ids)} bytes, {length - 2} are possible; "
                    "give it under a shorter one"
                )
        return ids + [self.image_token_id] * (length - len(ids))

    def encode(
        self,
        messages: Sequence[Message],
        images: Sequence[PIL.Image.Image] = (),
        *,
        names: Sequence[str] = (),
        add_generation_prompt: bool = False,
        name: str = "conversation",
    ) -> Encoded:
        """A conversation and its opened pictures (RGB), in order of appearance, as the model takes them.

        Args:
            messages: the conversation.
            images: its pictures.
            names: what the pictures are called, for ``image_path_bytes``; empty unless said.
            add_generation_prompt: write what comes before an answer at the end.
            name: what to call the conversation in a message.

        Raises:
            TuwenError: naming ``name``, when pictures and their places or names differ in number.
        """
        lengths = [self.num_image_tokens(*image.size) for image in images]
        if names and len(names) != len(images):
            raise TuwenError(f"{name}: {len(names)} names for {len(images)} pictures")
        rendered = self.renderer.render(
            messages,
            lengths,
            image_ids=[self.image_name_ids(*pair) for pair in zip(names, lengths, strict=True)] if names else None,
            add_generation_prompt=add_generation_prompt,
            name=name,
        )
        tiles = [self.policy.apply(image) for image in images]
        pixels = np.concatenate(tiles) if tiles else self.image_processor.no_pixels()
        return Encoded(rendered, pixels, tuple(len(tile) for tile in tiles))

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:
        """What a picture's token is replaced by (protocol of `transformers` and vLLM)."""
        return self.image_token * (int(image_inputs["image_tiles"][image_idx]) * self.tokens_per_tile)

    def _get_num_multimodal_tokens(
        self, image_sizes: Sequence[tuple[int, int]] | None = None, **kwargs: Any
    ) -> MultiModalData:
        """Tokens and tiles of pictures of sizes (height, width) (protocol of vLLM)."""
        if image_sizes is None:
            return MultiModalData()
        tiles = [self.policy.plan(width, height).tiles for height, width in image_sizes]
        return MultiModalData(
            num_image_tokens=[count * self.tokens_per_tile for count in tiles], num_image_patches=tiles
        )


def _flat(images: Any) -> list[Any]:
    if isinstance(images, list | tuple):
        return [image for part in images for image in _flat(part)]
    return [images]


def _as_pil(image: Any) -> PIL.Image.Image:
    picture = image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(np.asarray(image))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


AutoImageProcessor.register(TuwenConfig, slow_image_processor_class=TuwenImageProcessor, exist_ok=True)
AutoProcessor.register(TuwenConfig, TuwenProcessor, exist_ok=True)
