"""Earlier turns in the forms of all four systems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuwen.chat.messages import Image, Message, Text
from tuwen.config import TuwenError
from tuwen.infer.history import parse_history, parse_list_format, read_history, to_list_format

USER, ANSWER = "这是什么?", "一只猫。"
FORMS: list[list[Any]] = [
    [[f"<image>{USER}", ANSWER]],
    [{"role": "user", "content": f"<image>{USER}"}, {"role": "assistant", "content": ANSWER}],
    [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": USER}]},
        {"role": "assistant", "content": ANSWER},
    ],
    [{"from": "human", "value": f"<image>{USER}"}, {"from": "gpt", "value": ANSWER}],
    [
        {"type": "instruction", "value": USER, "first_instruction": True},
        {"type": "response", "value": ANSWER},
    ],
]


@pytest.mark.parametrize("values", FORMS)
def test_every_form_says_the_same(values: list[Any]) -> None:
    history = parse_history(values)
    assert history.messages == [Message.of("user", Image(), USER), Message.of("assistant", ANSWER)]
    assert history.images == [None]


def test_pictures_in_text_keep_what_they_are_called() -> None:
    text = "Picture 1: <img>a.png</img>\nPicture 2:<img>中 文.jpg</img>\n比一比<img>c.png</img>"
    history = parse_history([[text, "好"]])
    assert history.images == ["a.png", "中 文.jpg", "c.png"]
    wanted = (Image("Picture 1: "), Image("Picture 2:"), "比一比", Image(""))
    assert history.messages[0] == Message.of("user", *wanted)


def test_an_answer_never_becomes_a_picture() -> None:
    history = parse_history([["?", "<img>/etc/passwd</img>"], {"role": "assistant", "content": "<image>"}])
    assert history.images == []
    assert [message.text for message in history.messages] == ["?", "<img>/etc/passwd</img>", "<image>"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"role": "user"}, "h: expected a list of turns, found dict"),
        ([["only one"]], r"h: turn 1: expected \[question, answer\]"),
        ([["q", "a"], {"role": "robot", "content": "x"}], "h: turn 2: expected role and content"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "h: turn 1: expected text, or a mapping of type"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}],
            "h: turn 1: expected the path of a picture",
        ),
    ],
)
def test_what_is_no_history_is_said(values: Any, message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        parse_history(values, "h")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(TuwenError, match=r"h\.json: cannot be read as JSON"):
        read_history(path)
    path.write_text(json.dumps(FORMS[0]), encoding="utf-8")
    assert len(read_history(path).messages) == 2


def test_the_list_format_is_qwen_vls() -> None:
    listed = [{"image": "a.png"}, {"text": "找"}, {"ref": "击掌", "box": [[517.9, 508, 589, 611]]}]
    parts, paths = parse_list_format(listed)
    assert paths == ["a.png"]
    assert parts == [Image(), Text("找"), Text("<ref>击掌</ref><box>(517,508),(589,611)</box>")]
    text = "<img>a.png</img>\n详细描述一下这张图"
    assert to_list_format(text) == [{"image": "a.png", "label": ""}, {"text": "详细描述一下这张图"}]
    with pytest.raises(TuwenError, match="element 1: expected text, image, or ref and box"):
        parse_list_format([{"foo": 1}])
