"""A conversation as one HTML file that needs nothing else: texts, pictures, boxes, settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tuwen.data.looking.page import fill_page
from tuwen.data.media import data_url
from tuwen.infer.engine.interface import Sampling
from tuwen.infer.marked_text import segments
from tuwen.serve.demo.conversation import Conversation, Reply, Shot


def export_page(conversation: Conversation) -> str:
    """The file's text; everything in it that a user or a model has said is escaped."""
    return fill_page(
        "tuwen.serve.demo",
        "conversation.html.jinja",
        names=[speaker.name for speaker in conversation.speakers],
        turns=[_turn(conversation, place) for place in range(len(conversation.turns))],
        time=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )


def _turn(conversation: Conversation, place: int) -> dict[str, Any]:
    turn, figure = conversation.turns[place], conversation.figure(place)
    pieces, boxes = segments(turn.text)
    return {
        "pictures": [(data_url(shot.data), boxes if shot is figure else []) for shot in turn.shots],
        "segments": pieces,
        "boxes": boxes,
        "system": turn.system,
        "settings": _settings(turn.sampling),
        "replies": [_reply(reply, figure) for reply in turn.replies],
    }


def _reply(reply: Reply, figure: Shot | None) -> dict[str, Any]:
    pieces, boxes = segments(reply.text)
    return {
        "segments": pieces,
        "boxes": boxes,
        "figure": data_url(figure.data) if boxes and figure is not None else "",
        "tokens": len(reply.token_ids),
        "reason": reply.finish.reason if reply.finish is not None else "",
        "error": reply.error,
    }


def _settings(sampling: Sampling) -> dict[str, Any]:
    plain = Sampling().model_dump()
    return {name: value for name, value in sampling.model_dump().items() if value != plain[name]}
