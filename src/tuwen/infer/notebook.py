"""Answers and conversations as Jupyter shows them: pictures with their boxes, and words in the colour of their box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import PIL.Image

from tuwen.chat.messages import Message, Text
from tuwen.data.looking.page import fill_page, jpeg
from tuwen.infer.marked_text import segments

if TYPE_CHECKING:
    from tuwen.infer.prompts import Answer
    from tuwen.infer.vlm import Session


# Pixels of the longer side of a picture that is shown.
LONGEST = 640


def answer_html(answer: Answer) -> str:
    """An answer, and where it names boxes the last picture of the conversation with them."""
    figure = answer.pictures[-1] if answer.pictures and answer.boxes else None
    return _html([_turn("assistant", answer.text, [] if figure is None else [figure], figure)])


def session_html(session: Session) -> str:
    """A whole conversation; boxes of an answer are drawn onto the last picture before it."""
    pictures = (named.image for named in session.pictures)
    first = [] if session.system is None else [_turn("system", session.system, [], None)]
    return _html([*first, *_turns(session.messages, pictures)])


def _turns(messages: Sequence[Message], pictures: Iterable[PIL.Image.Image]) -> list[dict[str, Any]]:
    coming = iter(pictures)
    turns: list[dict[str, Any]] = []
    last: PIL.Image.Image | None = None
    for message in messages:
        text = "".join(part.text for part in message.parts if isinstance(part, Text))
        shown = [next(coming) for part in message.parts if not isinstance(part, Text)]
        last = shown[-1] if shown else last
        boxed = [last] if message.role == "assistant" and last is not None and segments(text)[1] else []
        turns.append(_turn(message.role, text, [*shown, *boxed], last))
    return turns


def _turn(role: str, text: str, pictures: Sequence[PIL.Image.Image], figure: PIL.Image.Image | None) -> dict[str, Any]:
    pieces, boxes = segments(text)
    shown = [(jpeg(picture, LONGEST), boxes if picture is figure else []) for picture in pictures]
    return {"role": role, "segments": pieces, "boxes": boxes, "pictures": shown}


def _html(turns: Sequence[dict[str, Any]]) -> str:
    return fill_page("tuwen.infer", "notebook.html.jinja", turns=turns)
