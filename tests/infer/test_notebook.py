"""What Jupyter shows of answers and conversations."""

from __future__ import annotations

import re
from pathlib import Path

import PIL.Image

import tuwen
from tuwen.chat.messages import Image, Message
from tuwen.infer.prompts import Answer, NamedPicture

BOXED = "有<ref>一只猫</ref><box>(100,200),(500,900)</box>和<b>字</b>。"


def picture(colour: str) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (80, 60), colour)


def test_an_answer_shows_its_boxes_on_the_last_picture() -> None:
    answer = Answer(
        text=BOXED, token_ids=[], prompt_ids=[], finish_reason="stop", pictures=(picture("red"), picture("blue"))
    )
    page = answer._repr_html_()
    assert page.count("<img") == 1
    assert re.search(r"left: 10\.0%; top: 20\.0%; width: 40\.0%; height: 70\.0%", page)
    assert "一只猫</b>" in page
    assert "<box>" not in page
    # What a model says is never markup.
    assert "&lt;b&gt;字&lt;/b&gt;" in page


def test_an_answer_of_text_is_text() -> None:
    answer = Answer(text="你好", token_ids=[], prompt_ids=[], finish_reason="stop", pictures=(picture("red"),))
    page = answer._repr_html_()
    assert "你好" in page
    assert "<img" not in page


def test_a_conversation_shows_every_turn_with_its_pictures(toy_run: Path) -> None:
    session = tuwen.load(toy_run / "model").session(system="用中文回答")
    session.messages += [
        Message.of("user", Image(), "有什么?"),
        Message.of("assistant", BOXED),
        Message.of("user", "<script>", Image(), Image()),
        Message.of("assistant", "没有。"),
    ]
    session.pictures += [NamedPicture(picture(colour)) for colour in ("red", "green", "blue")]
    page = session._repr_html_()
    # The first is shown once more, with the answer's box.
    assert page.count("<img") == 4
    assert page.count("<i ") == 1
    assert "用中文回答" in page
    assert "<script>" not in page


def test_an_asked_question_leaves_its_pictures_with_the_answer(toy_run: Path) -> None:
    session = tuwen.load(toy_run / "model").session()
    first = session.ask("什么?", [picture("red")], greedy=True, max_new_tokens=2)
    second = session.ask("还有呢?", [picture("blue")], greedy=True, max_new_tokens=2)
    assert [len(answer.pictures) for answer in (first, second)] == [1, 2]
    assert "pictures" not in repr(first)
