"""The page: one component that the browser draws itself, and what happens when something is done in it.

The browser is told what was said as plain values and builds its elements from them with text nodes alone, so nothing
that a user or a model says can become markup.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import gradio as gr

from tuwen import __version__
from tuwen.chat.grounding import format_box
from tuwen.config import TuwenError, parse_config
from tuwen.infer.engine.interface import Sampling
from tuwen.infer.marked_text import segments
from tuwen.serve.demo.attention_map import attention_map
from tuwen.serve.demo.conversation import Conversation, Reply, Speaker, Turn
from tuwen.serve.demo.export import export_page
from tuwen.serve.demo.seen import seen
from tuwen.serve.demo.words import tables

SCRIPTS = ("elements.js", "boxes.js", "composer.js", "panels.js", "chat.js")
MOST_CONVERSATIONS = 256
# Of all visitors' pictures.
MOST_BYTES = 2**30
MOST_NAME = 64
# What the settings of the page may say.
SETTINGS = ("temperature", "top_p", "top_k", "max_tokens", "seed", "repetition_penalty")
LOG = logging.getLogger(__name__)


class Visitors:
    """Conversations by visitor; forgotten when their page is closed, the oldest when there are too many.

    Args:
        speakers: who answer.
    """

    def __init__(self, speakers: Sequence[Speaker]) -> None:
        self._speakers = speakers
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()

    def conversation(self, request: gr.Request) -> Conversation:
        """The visitor's own."""
        key = str(request.session_hash)
        if key not in self._conversations:
            self._conversations[key] = Conversation(self._speakers)
        self._conversations.move_to_end(key)
        while len(self) > 1 and (len(self) > MOST_CONVERSATIONS or self._bytes() > MOST_BYTES):
            self._conversations.popitem(last=False)[1].clear()
        return self._conversations[key]

    def forget(self, request: gr.Request) -> None:
        """The page was closed."""
        if (conversation := self._conversations.pop(str(request.session_hash), None)) is not None:
            conversation.clear()

    def __len__(self) -> int:
        return len(self._conversations)

    def _bytes(self) -> int:
        return sum(conversation.picture_bytes for conversation in self._conversations.values())


def create_page(speakers: Sequence[Speaker], examples: Sequence[Mapping[str, Any]] = ()) -> gr.Blocks:
    """The page.

    Args:
        speakers: one model, or two side by side.
        examples: of ``draw_examples``.
    """
    visitors = Visitors(speakers)
    own = files("tuwen.serve.demo")
    script = "\n".join((own / "static" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    with gr.Blocks(title="图文 Tuwen", analytics_enabled=False, fill_width=True) as page:
        chat = gr.HTML(
            value={"turns": [], "busy": False},
            html_template="",
            js_on_load=script,
            apply_default_css=False,
            elem_id="tuwen",
            words=tables(),
            models=[speaker.name for speaker in speakers],
            examples=list(examples),
            version=__version__,
        )
        # What is answered to the page's own requests; apart from the conversation, which streams.
        answer = gr.HTML(
            value={"number": 0},
            html_template="",
            js_on_load="watch('value', () => dispatchEvent(new CustomEvent('tuwen-answer', {detail: props.value})));",
            visible="hidden",
        )
        _Events(visitors).attach(chat, answer)
        page.unload(visitors.forget)
    page.queue(api_open=False, max_size=512, default_concurrency_limit=None)
    return page


def head() -> str:
    """The page's style, for its head."""
    style = (files("tuwen.serve.demo") / "static" / "page.css").read_text(encoding="utf-8")
    return f"<style>{style}</style>"


class _Events:
    """What happens when something is done on the page."""

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors
        self._numbers = itertools.count(1)

    def attach(self, chat: gr.HTML, answer: gr.HTML) -> None:
        """Connect the page's events; the library looks for the names in quotes in the page's script."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
        chat.send(self.send, None, chat, **quiet)
        chat.again(self.again, None, chat, **quiet)
        chat.forget(self.forget, None, chat, **quiet)
        chat.stop(self.stop, None, None, **quiet)
        chat.look(self.look, None, answer, **quiet)

    async def send(self, event: gr.EventData, request: gr.Request) -> AsyncGenerator[dict[str, Any]]:
        """A question was asked."""
        conversation, values = self._visitors.conversation(request), event._data
        try:
            pictures = {
                str(name)[:MOST_NAME]: _decoded(data) for name, data in dict(values.get("pictures") or {}).items()
            }
            asking = conversation.ask(
                str(values.get("text", "")).strip(),
                pictures,
                sampling(values.get("settings") or {}),
                system=str(values.get("system") or "").strip(),
                target=str(values.get("target") or ""),
            )
            async with aclosing(asking):
                async for _ in asking:
                    yield view(conversation)
        except TuwenError as error:
            yield {**view(conversation), "refused": str(error), "number": next(self._numbers)}

    async def again(self, event: gr.EventData, request: gr.Request) -> AsyncGenerator[dict[str, Any]]:
        """The last question is to be answered once more."""
        conversation, values = self._visitors.conversation(request), event._data
        try:
            asking = conversation.again(sampling(values.get("settings") or {}), str(values.get("system") or "").strip())
            async with aclosing(asking):
                async for _ in asking:
                    yield view(conversation)
        except TuwenError as error:
            yield {**view(conversation), "refused": str(error), "number": next(self._numbers)}

    def stop(self, request: gr.Request) -> None:
        """Answers are to end here."""
        self._visitors.conversation(request).stop()

    def forget(self, request: gr.Request) -> dict[str, Any]:
        """A new conversation."""
        conversation = self._visitors.conversation(request)
        conversation.clear()
        return view(conversation)

    def look(self, event: gr.EventData, request: gr.Request) -> dict[str, Any]:
        """Something about the conversation is asked for."""
        conversation, values = self._visitors.conversation(request), event._data
        asked = {"number": next(self._numbers), "kind": str(values.get("kind")), "ask": values.get("ask")}
        try:
            return {**asked, **LOOKS[asked["kind"]](conversation, values)}
        except TuwenError as error:
            return {**asked, "error": str(error)}
        except Exception:
            LOG.exception("the page asked for %s", asked["kind"])
            return {**asked, "error": "this failed; see the terminal"}


def _seen(conversation: Conversation, values: Mapping[str, Any]) -> dict[str, Any]:
    conversation.reply(values.get("turn"), values.get("speaker"))
    return seen(conversation, values["turn"], values["speaker"])


def _attention(conversation: Conversation, values: Mapping[str, Any]) -> dict[str, Any]:
    conversation.reply(values.get("turn"), values.get("speaker"))
    return attention_map(conversation, values["turn"], values["speaker"])


def _markup(conversation: Conversation, values: Mapping[str, Any]) -> dict[str, Any]:
    sides = values.get("box")
    if not isinstance(sides, list) or not all(isinstance(side, int | float) for side in sides):
        raise TuwenError("box: expected four numbers")
    return {"markup": format_box("", sides), "picture": values.get("picture")}


def _export(conversation: Conversation, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"html": export_page(conversation)}


LOOKS: dict[str, Callable[[Conversation, Mapping[str, Any]], dict[str, Any]]] = {
    "seen": _seen,
    "attention": _attention,
    "markup": _markup,
    "export": _export,
}


def sampling(values: Mapping[str, Any]) -> Sampling:
    """The page's settings; what is empty is as the model says.

    Raises:
        TuwenError: for a value that is none.
    """
    said = {name: values[name] for name in SETTINGS if values.get(name) not in (None, "")}
    return parse_config(Sampling, said, "settings")


def _decoded(data: Any) -> bytes:
    head, comma, text = str(data).partition(",")
    if not comma or not head.startswith("data:"):
        raise TuwenError("picture: expected a data: URL")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise TuwenError("picture: not base64") from None


def view(conversation: Conversation) -> dict[str, Any]:
    """All that the page shows of a conversation; pictures are named, for the page has them."""
    turns = [_turn(turn, conversation.figure(place)) for place, turn in enumerate(conversation.turns)]
    return {"turns": turns, "busy": conversation.busy}


def _turn(turn: Turn, figure: Any) -> dict[str, Any]:
    pieces, boxes = segments(turn.text)
    return {
        "pictures": [shot.name for shot in turn.shots],
        "figure": "" if figure is None else figure.name,
        "segments": [asdict(piece) for piece in pieces],
        "boxes": [asdict(box) for box in boxes],
        "seed": turn.sampling.seed,
        "greedy": turn.sampling.temperature == 0,
        "replies": [_reply(reply) for reply in turn.replies],
    }


def _reply(reply: Reply) -> dict[str, Any]:
    pieces, boxes = segments(reply.text, growing=not reply.done)
    return {
        "segments": [asdict(piece) for piece in pieces],
        "boxes": [asdict(box) for box in boxes],
        "done": reply.done,
        "error": reply.error,
        "reason": reply.finish.reason if reply.finish is not None else "",
        "tokens": len(reply.token_ids),
        "imageTokens": reply.finish.image_tokens if reply.finish is not None else 0,
        "seconds": round(reply.seconds, 1),
        "first": None if reply.first_seconds is None else round(reply.first_seconds, 2),
    }
