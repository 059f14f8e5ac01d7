"""The built-in chat templates, by name.

The Jinja text is stored in a model's folder when it is built, so a model never depends on this list later. A
package adds a template of its own with ``TEMPLATES.register("name")(ChatTemplate(…))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tuwen.config import Registry

TEMPLATES = Registry("chat template")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """How conversations are written for a language model.

    The built-in ones end each answer with a stop token or the tokenizer's ``eos_token``, and take the
    variable ``default_system``: the system text of conversations that have none, or empty for no such text.

    Attributes:
        name: its name in the registry.
        jinja: the template, with generation marks.
        control_tokens: tokens that it writes and a tokenizer must have as special tokens, besides its own
            ``bos_token`` and ``eos_token``, in the order in which they are added.
        stop_tokens: tokens that end an answer, besides ``eos_token``.
        stop_strings: text that shows that an answer has gone on into the next turn.
        image_token: the token that stands for a picture.
        image_span: the tokens between which a picture stands, where all between them is the picture, whatever token
            it is (Qwen-VL).
        image_path_bytes: whether a picture's places hold the bytes of its path and then image tokens (Qwen-VL).
        text_tokens: tokens that text, a user's too, may write, such as ``<ref>``.
        tokens_strip: whether tokens that are added for it take away the white space beside them, as those of a slow
            tokenizer of `transformers` did that were given as plain strings (VisualCLA).
    """

    name: str
    jinja: str
    control_tokens: tuple[str, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    stop_strings: tuple[str, ...] = ()
    image_token: str = "<image>"
    image_span: tuple[str, str] | None = None
    image_path_bytes: bool = False
    text_tokens: tuple[str, ...] = ()
    tokens_strip: bool = False

    @property
    def tokens(self) -> tuple[str, ...]:
        """All special tokens that a tokenizer must have for it."""
        return tuple(dict.fromkeys((*self.control_tokens, self.image_token)))


def load_template(name: str) -> ChatTemplate:
    """The template called ``name``.

    Raises:
        TuwenError: for an unknown name, listing the choices.
    """
    template: ChatTemplate = TEMPLATES.get(name)
    return template


def _register(name: str, file: str | None = None, before: str = "", **settings: Any) -> None:
    """File a built-in template.

    Args:
        name: its name.
        file: whose text it has; its own unless said.
        before: Jinja that is put before that text.
        **settings: of ``ChatTemplate``.
    """
    TEMPLATES.register(name)(ChatTemplate(name, before + _text(file or name), **settings))


def _text(file: str) -> str:
    return (files("tuwen.chat") / "templates" / f"{file}.jinja").read_text(encoding="utf-8")


_CHATML: dict[str, Any] = {"control_tokens": ("<|im_start|>", "<|im_end|>"), "stop_tokens": ("<|im_end|>",)}
_QWEN: dict[str, Any] = {
    **_CHATML,
    "control_tokens": ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>"),
    "image_token": "<imgpad>",
    "image_span": ("<img>", "</img>"),
    "text_tokens": ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"),
}
_VISUALCLA: dict[str, Any] = {
    "control_tokens": ("<img>", "</img>", "<pad>", "<img_token>"),
    "image_token": "<img_token>",
    "tokens_strip": True,
}
# A picture that leads a message stands on a line of its own, as LLaVA's training data has it (arXiv 2304.08485).
_LINE = _text("picture_line")

_register("alpaca", stop_strings=("\n### Instruction:",))
_register("chatml", **_CHATML)
_register("codefuse_vlm", "qwen_vl", "{%- set picture_label = picture_label | default('Picture N:') -%}\n", **_QWEN)
_register("llama2", stop_strings=("[INST]",))
_register("llava_chatml", "chatml", _LINE, **_CHATML)
_register("llava_vicuna", "vicuna", _LINE, stop_strings=("USER:",))
_register("plain")
_register("qwen_vl", **_QWEN, image_path_bytes=True)
_register("vicuna", stop_strings=("USER:",))
_register("visualcla", **_VISUALCLA, stop_strings=("\n### Instruction:",))
# A picture and its caption, without any instruction.
_register("visualcla_plain", "plain", "{%- set image_token = '<img>' ~ image_token ~ '</img>' -%}\n", **_VISUALCLA)
