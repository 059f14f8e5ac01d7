"""The built-in chat templates, by name.

The Jinja text is stored in a model's folder when it is built, so a model never depends on this list later. A
package adds a template of its own with ``TEMPLATES.register("name")(ChatTemplate(…))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

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
            ``bos_token`` and ``eos_token``.
        stop_tokens: tokens that end an answer, besides ``eos_token``.
        stop_strings: text that shows that an answer has gone on into the next turn.
    """

    name: str
    jinja: str
    control_tokens: tuple[str, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    stop_strings: tuple[str, ...] = ()


def load_template(name: str) -> ChatTemplate:
    """The template called ``name``.

    Raises:
        TuwenError: for an unknown name, listing the choices.
    """
    template: ChatTemplate = TEMPLATES.get(name)
    return template


def _register(
    name: str,
    control_tokens: tuple[str, ...] = (),
    stop_tokens: tuple[str, ...] = (),
    stop_strings: tuple[str, ...] = (),
) -> None:
    jinja = (files("tuwen.chat") / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    TEMPLATES.register(name)(ChatTemplate(name, jinja, control_tokens, stop_tokens, stop_strings))


_register("alpaca", stop_strings=("\n### Instruction:",))
_register("chatml", control_tokens=("<|im_start|>", "<|im_end|>"), stop_tokens=("<|im_end|>",))
_register("llama2", stop_strings=("[INST]",))
_register("plain")
_register(
    "qwen_vl", control_tokens=("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>"), stop_tokens=("<|im_end|>",)
)
_register("vicuna", stop_strings=("USER:",))
