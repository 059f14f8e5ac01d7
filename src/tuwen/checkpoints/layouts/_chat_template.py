"""Chat templates as they are published, made fit for our renderer.

Some take a message's content as text alone, others as a list of parts alone; the renderer gives text where a message
has no picture and parts where it has one. A few lines before the template even that out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuwen.chat.compilation import compile_template
from tuwen.chat.marks import TRAINED_BEGIN, TRAINED_END
from tuwen.chat.templates import load_template
from tuwen.checkpoints.weights import read_json
from tuwen.config import TuwenError

WORDS = ("first", "second", "third", "fourth")
# A picture that leads a message stands on a line of its own, as LLaVA's training data has it (arXiv 2304.08485).
AS_TEXT = """\
{%- set turns = namespace(all=[]) -%}
{%- for message in messages -%}
  {%- set turn = namespace(text='') -%}
  {%- if message.content is string -%}
    {%- set turn.text = message.content -%}
  {%- else -%}
    {%- for part in message.content -%}
      {%- if part.type == 'image' -%}
        {%- set leads = not (turn.text | replace(IMAGE, '') | trim) -%}
        {%- set turn.text = turn.text ~ IMAGE -%}
        {%- if leads and not loop.last and (loop.nextitem.type == 'image' or loop.nextitem.text[:1] != '\\n') -%}
          {%- set turn.text = turn.text ~ '\\n' -%}
        {%- endif -%}
      {%- else -%}
        {%- set turn.text = turn.text ~ part.text -%}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {%- set turns.all = turns.all + [{'role': message.role, 'content': turn.text}] -%}
{%- endfor -%}
{%- set messages = turns.all -%}
"""
AS_PARTS = """\
{%- set turns = namespace(all=[]) -%}
{%- for message in messages -%}
  {%- set parts = [{'type': 'text', 'text': message.content}] if message.content is string else message.content -%}
  {%- set turns.all = turns.all + [{'role': message.role, 'content': parts}] -%}
{%- endfor -%}
{%- set messages = turns.all -%}
"""
BEGIN = "{{- bos_token -}}\n"
MARKS = str.maketrans("", "", TRAINED_BEGIN + TRAINED_END)


def published_template(folder: Path, tokenizer_config: Mapping[str, Any]) -> str | None:
    """The chat template of a folder in the naming of `transformers`: a file of its own, or in the tokenizer's.

    Raises:
        TuwenError: when a file that is there holds no template.
    """
    if (path := folder / "chat_template.jinja").is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TuwenError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    found, where = tokenizer_config.get("chat_template"), "tokenizer_config.json"
    if (folder / "chat_template.json").is_file():
        found, where = read_json(folder / "chat_template.json").get("chat_template"), "chat_template.json"
    if isinstance(found, list):
        found = next((one.get("template") for one in found if one.get("name") == "default"), None)
    if found is not None and not isinstance(found, str):
        raise TuwenError(f"{folder / where}: chat_template: found {type(found).__name__}; expected Jinja text")
    return found


def renderable(template: str | None, tokens: Mapping[str, str], image_token: str, *, begins: bool = False) -> str:
    """A template that writes what the published one writes, whatever a message holds.

    A template that writes nothing but ChatML becomes our own ChatML, which marks what is trained.

    Args:
        template: as published; ChatML where there is none.
        tokens: the tokenizer's special tokens by their names (``bos_token`` …).
        image_token: what stands for a picture.
        begins: whether the tokenizer itself puts its ``bos_token`` before a prompt.

    Raises:
        TuwenError: when the template takes neither text nor parts.
    """
    chatml = load_template("chatml").jinja
    as_text = AS_TEXT.replace("IMAGE", json.dumps(image_token, ensure_ascii=False))
    if template is None or _says_the_same(template, chatml, tokens):
        return as_text + chatml
    text = _render(template, tokens, [{"role": "user", "content": WORDS[0]}])
    takes_text = text is not None and text.count(WORDS[0]) == 1
    parts = [{"type": "image"}, {"type": "text", "text": WORDS[0]}]
    text = _render(template, {**tokens, "image_token": image_token}, [{"role": "user", "content": parts}])
    takes_parts = text is not None and text.count(image_token) == 1 and text.count(WORDS[0]) == 1
    if not takes_text and not takes_parts:
        raise TuwenError(f"chat template: writes neither text nor {image_token!r} and text of a user's message")
    if not takes_parts:
        template = as_text + template
    elif not takes_text:
        template = AS_PARTS + template
    bos = tokens.get("bos_token")
    if begins and bos and not (_render(template, tokens, _conversation(1)) or bos).startswith(bos):
        template = BEGIN + template
    return template


def _conversation(turns: int, system: bool = False) -> list[dict[str, Any]]:
    roles = [*(["system"] if system else []), *["user", "assistant"] * turns][: len(WORDS)]
    return [{"role": role, "content": word} for role, word in zip(roles, WORDS, strict=False)]


def _says_the_same(template: str, other: str, tokens: Mapping[str, str]) -> bool:
    for length in range(1, len(WORDS) + 1):
        for system in (False, True):
            messages = _conversation(2, system)[:length]
            for prompt in (False, True):
                one, two = (_render(text, tokens, messages, prompt) for text in (template, other))
                if one is None or one != two:
                    return False
    return True


def _render(
    template: str, tokens: Mapping[str, str], messages: list[dict[str, Any]], prompt: bool = False
) -> str | None:
    """What a template writes without any marks; None where it refuses the messages."""
    compiled = compile_template(template)
    try:
        text = compiled.template.render({**tokens, "messages": messages, "add_generation_prompt": prompt})
    except Exception:
        # Any Python error can come out of an expression in somebody else's template.
        return None
    return text.translate(MARKS)
