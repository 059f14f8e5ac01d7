"""Earlier turns from JSON, in each of the forms that the four systems and others keep them in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tuwen.chat.messages import Image, Message, Part, Role, Text
from tuwen.config import TuwenError

# Qwen-VL's way to write a picture into text, what calls it before it, and LLaVA's.
_PICTURE = re.compile(r"(Picture [0-9]{1,4}: ?)?<img>([^<]{0,4096})</img>\n?|<image>")
_ROLES: Mapping[str, Role] = {
    "user": "user",
    "human": "user",
    "instruction": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "response": "assistant",
    "system": "system",
}


@dataclass(slots=True)
class History:
    """Earlier turns.

    Attributes:
        messages: the turns.
        images: path of each of their pictures; None for the one that is given with the question (VisualCLA
            gives the same picture with every question, and puts it into the first).
    """

    messages: list[Message] = field(default_factory=list)
    images: list[str | None] = field(default_factory=list)


def read_history(path: Path) -> History:
    """Earlier turns from a JSON file; see ``parse_history``.

    Raises:
        TuwenError: naming the file and the turn, what was found and what would be right.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TuwenError(f"{path}: cannot be read as JSON: {error}") from None
    return parse_history(values, str(path))


def parse_history(values: Any, name: str = "history") -> History:
    """Earlier turns from a list.

    Args:
        values: pairs ``[question, answer]`` (Qwen-VL), mappings with ``role`` and ``content`` (OpenAI), ``from`` and
            ``value`` (LLaVA), or ``type`` and ``value`` (VisualCLA). Text may hold ``<img>path</img>``, or ``<image>``
            for a picture that is given with the question; a content may be a list of text and pictures (``image``
            or ``image_url`` with a path).
        name: what to call it in a message.

    Raises:
        TuwenError: naming the turn, what was found and what would be right.
    """
    if not isinstance(values, list):
        raise TuwenError(f"{name}: expected a list of turns, found {type(values).__name__}")
    history = History()
    for number, turn in enumerate(values):
        where = f"{name}: turn {number + 1}"
        if isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(text, str) for text in turn):
            _add(history, "user", [turn[0]], where)
            _add(history, "assistant", [turn[1]], where)
        elif isinstance(turn, Mapping):
            _add_mapping(history, turn, where)
        else:
            raise TuwenError(f"{where}: expected [question, answer] or a mapping with role and content")
    return history


def _add_mapping(history: History, turn: Mapping[str, Any], where: str) -> None:
    said = next((key for key in ("role", "from", "type") if key in turn), None)
    content = turn.get("content", turn.get("value"))
    role = _ROLES.get(str(turn.get(said))) if said is not None else None
    if role is None or content is None:
        raise TuwenError(f"{where}: expected role and content, from and value, or type and value, found {list(turn)}")
    pieces: list[Any] = [content] if isinstance(content, str) else list(cast(Sequence[Any], content))
    if turn.get("first_instruction"):
        pieces.insert(0, {"type": "image"})
    _add(history, role, pieces, where)


def _add(history: History, role: Role, pieces: Sequence[Any], where: str) -> None:
    parts: list[Part] = []
    for piece in pieces:
        if isinstance(piece, Mapping) and isinstance(piece.get("text"), str):
            piece = piece["text"]
        if isinstance(piece, str):
            found, paths = split_pictures(piece) if role == "user" else ([Text(piece)], [])
            parts += found
            history.images += paths
        elif isinstance(piece, Mapping) and piece.get("type") in ("image", "image_url"):
            parts.append(Image())
            history.images.append(_path(piece, where))
        else:
            raise TuwenError(f"{where}: expected text, or a mapping of type text or image, found {piece!r:.60}")
    history.messages.append(Message(role, tuple(parts)))


def _path(piece: Mapping[str, Any], where: str) -> str | None:
    value = next((piece[key] for key in ("image", "path", "image_url", "url") if key in piece), None)
    if isinstance(value, Mapping):
        value = value.get("url")
    if value is None:
        return None
    if not isinstance(value, str) or value.startswith(("http:", "https:", "data:")):
        raise TuwenError(f"{where}: expected the path of a picture, found {value!r:.60}")
    return value.removeprefix("file://")


def to_list_format(text: str) -> list[dict[str, str]]:
    """Text with ``<img>path</img>`` in it in Qwen-VL's list format, which ``chat`` takes in place of a question.

    Whoever calls this trusts the text: its pictures are opened when it is asked.
    """
    parts, paths = split_pictures(text)
    left = iter(paths)
    listed: list[dict[str, str]] = []
    for part in parts:
        if isinstance(part, Text):
            listed.append({"text": part.text})
        else:
            label = {} if part.label is None else {"label": part.label}
            listed.append({"image": next(left) or "", **label})
    return listed


def parse_list_format(listed: Sequence[Mapping[str, Any]]) -> tuple[list[Part], list[str]]:
    """A question in Qwen-VL's list format as parts, and the paths of its pictures.

    Args:
        listed: mappings with ``text``, ``image`` (a path; ``label`` may say what stands before it), or ``ref`` and
            ``box`` (lists of left, top, right, bottom on a grid of 1000).

    Raises:
        TuwenError: naming the element that is none of these.
    """
    parts: list[Part] = []
    paths: list[str] = []
    for number, element in enumerate(listed):
        if isinstance(element, Mapping) and isinstance(element.get("text"), str):
            parts.append(Text(element["text"]))
        elif isinstance(element, Mapping) and isinstance(element.get("image"), str | Path):
            parts.append(Image(element.get("label")))
            paths.append(str(element["image"]))
        elif isinstance(element, Mapping) and isinstance(element.get("box"), list):
            ref = f"<ref>{element['ref']}</ref>" if "ref" in element else ""
            boxes = (f"<box>({int(a)},{int(b)}),({int(c)},{int(d)})</box>" for a, b, c, d in element["box"])
            parts.append(Text(ref + "".join(boxes)))
        else:
            raise TuwenError(
                f"list format: element {number + 1}: expected text, image, or ref and box: {element!r:.60}"
            )
    return parts, paths


def split_pictures(text: str) -> tuple[list[Part], list[str | None]]:
    """Text with ``<img>path</img>`` or ``<image>`` in it as parts, and the paths; nothing is opened.

    What a picture is called (``Picture 2: ``), or that it is called nothing, is kept as it stands.
    """
    parts: list[Part] = []
    paths: list[str | None] = []
    end = 0
    for match in _PICTURE.finditer(text):
        if before := text[end : match.start()]:
            parts.append(Text(before))
        named = match[2] is not None
        parts.append(Image(label=match[1] or "") if named else Image())
        paths.append(match[2] or None)
        end = match.end()
    if rest := text[end:]:
        parts.append(Text(rest))
    return parts, paths
