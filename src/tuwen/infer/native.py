"""Models that `transformers` has classes of its own for, behind the interface of ``VLM``: nothing is converted.

A folder of Qwen2.5-VL, Qwen3-VL, InternVL, LLaVA-NeXT … brings its own model, image processor and chat template; here
they are loaded from local files, without any code from the folder, and called by the chat-template protocol.

Shape legend: B conversations, L tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, PretrainedConfig, ProcessorMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from tuwen.chat.messages import Image, Message
from tuwen.chat.renderer import IGNORE_INDEX, Rendered
from tuwen.checkpoints.folder import check_report
from tuwen.checkpoints.refusal import quiet
from tuwen.config import TuwenError, first_line
from tuwen.data.media import fetch
from tuwen.data.sample import Picture
from tuwen.infer.prompts import NamedPicture
from tuwen.infer.vlm import Chatter
from tuwen.vision import open_picture

# Only what the folder holds is used: no download, no code of its own, no pickle that is more than tensors.
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
OWN_MODEL_TYPE = "tuwen"
# Parts of processors that neither pictures nor text need.
LEFT_OUT = ("video_processor", "feature_extractor")


@dataclass(frozen=True, slots=True)
class NativeEncoded:
    """A conversation as a model of `transformers` takes it.

    Attributes:
        rendered: its token ids; nothing is marked as trained.
        conversation: its messages in the form of the chat-template protocol, pictures in them.
        inputs: all inputs of the model, for it alone.
    """

    rendered: Rendered
    conversation: list[dict[str, Any]]
    inputs: Mapping[str, Any]


class NativeProcessor:
    """A processor of `transformers` behind ``TuwenProcessor.encode``.

    Args:
        processor: image processor, tokenizer and chat template.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer

    def encode(
        self,
        messages: Sequence[Message],
        images: Sequence[PIL.Image.Image] = (),
        *,
        names: Sequence[str] = (),
        add_generation_prompt: bool = False,
        name: str = "conversation",
    ) -> NativeEncoded:
        """A conversation and its opened pictures (RGB), in order of appearance, as the model takes them.

        Text in a message stays text: no control or image token can be written in it.

        Args:
            messages: the conversation.
            images: its pictures.
            names: what the pictures are called; of no use to these models.
            add_generation_prompt: write what comes before an answer at the end.
            name: what to call the conversation in a message.

        Raises:
            TuwenError: naming ``name``, when pictures and their places differ in number, or the chat template or
                the image processor refuses them.
        """
        conversation = _conversation(messages, images, name)
        inputs = self.apply([conversation], add_generation_prompt=add_generation_prompt, name=name)
        ids = inputs["input_ids"][0].tolist()
        text = self.tokenizer.decode(ids)
        return NativeEncoded(Rendered(ids, [IGNORE_INDEX] * len(ids), [], text), conversation, inputs)

    def apply(
        self, conversations: Sequence[list[dict[str, Any]]], *, add_generation_prompt: bool, name: str = "conversations"
    ) -> dict[str, Any]:
        """Inputs of the model for some conversations, padded on the left to one length."""
        try:
            with quiet():
                inputs = self.processor.apply_chat_template(
                    list(conversations),
                    add_generation_prompt=add_generation_prompt,
                    tokenize=True,
                    return_dict=True,
                    return_tensors="pt",
                    sanitize_control_tokens=True,
                    processor_kwargs={"padding": True, "padding_side": "left"},
                )
        except Exception as error:
            # Templates and image processors raise whatever they please.
            raise TuwenError(f"{name}: {first_line(error)}") from error
        return dict(inputs)


def _conversation(messages: Sequence[Message], images: Sequence[PIL.Image.Image], name: str) -> list[dict[str, Any]]:
    places = sum(isinstance(part, Image) for message in messages for part in message.parts)
    if places != len(images):
        raise TuwenError(f"{name}: {places} places for pictures, but {len(images)} pictures")
    waiting = iter(images)
    return [
        {
            "role": message.role,
            "content": [
                {"type": "image", "image": next(waiting)}
                if isinstance(part, Image)
                else {"type": "text", "text": part.text}
                for part in message.parts
            ],
        }
        for message in messages
    ]


class NativeVLM(Chatter):
    """A model of `transformers` that is ready to answer; ``chat``, ``stream`` and ``session`` are those of ``VLM``.

    Args:
        model: with generation defaults.
        processor: of the same folder.
    """

    processor: NativeProcessor

    def __init__(self, model: Any, processor: NativeProcessor) -> None:
        self.model = model
        self.processor = processor

    def open(self, picture: Picture | str) -> NamedPicture:
        """Open a picture under guard; the rest is up to the model's own image processor.

        Raises:
            TuwenError: when it cannot be opened.
        """
        return NamedPicture(open_picture(fetch(picture)), str(picture) if isinstance(picture, str | Path) else "")

    def _inputs(self, encoded: Sequence[NativeEncoded]) -> dict[str, Any]:
        inputs = encoded[0].inputs
        if len(encoded) > 1:
            inputs = self.processor.apply([one.conversation for one in encoded], add_generation_prompt=True)
        return {name: self._placed(value) for name, value in inputs.items()}

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self.model.dtype if value.is_floating_point() else None)


def serves(path: Path) -> bool:
    """Whether `transformers` has a class of its own for the model in a folder, by its ``config.json`` alone."""
    if not (path / "config.json").is_file():
        return False
    try:
        with quiet():
            config = AutoConfig.from_pretrained(path, **LOCAL)
    except Exception:
        # Whatever keeps the library from reading it, it does not serve it.
        return False
    return _is_served(config)


def _is_served(config: PretrainedConfig) -> bool:
    known = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and type(config) in PROCESSOR_MAPPING
    return known and config.model_type != OWN_MODEL_TYPE


def load_native(path: Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> NativeVLM:
    """Open a folder whose model `transformers` itself has a class for, ready to chat.

    Args:
        path: the folder; only files in it are read.
        device: where the weights go.
        dtype: of the weights; as stored unless said.

    Raises:
        TuwenError: when there is no such class, a file is missing or broken, weights are missing or unexpected, or
            the processor needs a package that is not installed.
    """
    if not (path / "config.json").is_file():
        raise TuwenError(f"{path}: no model folder, it has no config.json")
    try:
        with quiet():
            config = AutoConfig.from_pretrained(path, **LOCAL)
    except Exception as error:
        raise TuwenError(f"{path / 'config.json'}: cannot be read: {first_line(error)}") from None
    if not _is_served(config):
        raise TuwenError(
            f"{path / 'config.json'}: model_type: {config.model_type!r} is no image-text model that `transformers` "
            "has classes for"
        )
    processor = _load_processor(path, config)
    try:
        with quiet():
            model, report = AutoModelForImageTextToText.from_pretrained(
                path, config=config, dtype=dtype or "auto", output_loading_info=True, **LOCAL
            )
    except Exception as error:
        # Whatever a library says about files that it cannot read is a fault of those files.
        raise TuwenError(f"{path}: cannot be loaded: {first_line(error)}") from error
    check_report(path, report)
    _complete_generation(model.generation_config, processor.tokenizer)
    return NativeVLM(model.to(device).eval(), NativeProcessor(processor))


def _complete_generation(generation: Any, tokenizer: Any) -> None:
    """Where a folder does not say what ends an answer, its tokenizer does."""
    if generation.eos_token_id is None:
        generation.eos_token_id = tokenizer.eos_token_id
    if generation.pad_token_id is None:
        generation.pad_token_id = tokenizer.pad_token_id


def _load_processor(path: Path, config: PretrainedConfig) -> Any:
    # The class that belongs to the model: what files say of it is often left over from the parts of a composition.
    kind: Any = PROCESSOR_MAPPING[type(config)]
    if not (inspect.isclass(kind) and issubclass(kind, ProcessorMixin)):
        raise TuwenError(f"{path}: {config.model_type} has no processor that takes pictures and text here")
    try:
        with quiet():
            processor = _for_pictures(kind).from_pretrained(path, **LOCAL)
    except Exception as error:
        raise TuwenError(f"{path}: its processor cannot be loaded: {first_line(error)}") from error
    if "sanitize_control_tokens" not in inspect.signature(processor.apply_chat_template).parameters:
        raise TuwenError("transformers is too old to keep control tokens out of text; install a newer version")
    tokenizer = processor.tokenizer
    if not processor.chat_template and not getattr(tokenizer, "chat_template", None):
        raise TuwenError(f"{path}: no chat template; expected chat_template.jinja or one in tokenizer_config.json")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def _for_pictures(kind: Any) -> Any:
    """The same processor with the image processor that needs Pillow alone, and without what is for videos and sound.

    In `transformers` videos, and the other image processors, need a package that is not among ours.
    """
    parts: Mapping[str, Callable[..., Any]] = {
        "image_processor": partial(AutoImageProcessor.from_pretrained, backend="pil"),
        "tokenizer": partial(kind._load_tokenizer_from_pretrained, "tokenizer"),
        **dict.fromkeys(LEFT_OUT, lambda path, **kwargs: None),
    }
    attributes: list[str] = kind.get_attributes()
    if unknown := sorted(set(attributes) - set(parts)):
        raise TuwenError(f"{kind.__name__}: its {', '.join(unknown)} is neither for pictures nor for text")

    class ForPictures(kind):  # type: ignore[misc]
        @classmethod
        def _get_arguments_from_pretrained(cls, path: Path, processor_dict: Any = None, **kwargs: Any) -> list[Any]:
            return [parts[name](path, **kwargs) for name in attributes]

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name in LEFT_OUT and argument is None:
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    ForPictures.__name__ = kind.__name__
    return ForPictures
