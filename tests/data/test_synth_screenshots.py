"""Drawn web pages: the code is the picture, and Chromium comes and goes without a trace."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageColor

from tuwen.chat.grounding import parse_boxes
from tuwen.config import TuwenError
from tuwen.data.sample import Sample
from tuwen.data.synth import SUITES, Drawn, SynthConfig, Synthesiser
from tuwen.data.synth.pages.browser import NAMES, find_chromium, shared_browser
from tuwen.data.synth.pages.screenshot_wordings import COUNTED
from tuwen.data.synth.pages.tree import node, write_page

CHROMIUM = os.environ.get("TUWEN_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
COUNT = 40


@cache
def draw() -> list[Drawn]:
    """Pictures with all questions."""
    synthesiser = Synthesiser(SynthConfig(suites={"screenshot": 1.0}, questions=None))
    return [synthesiser.draw(8, index) for index in range(COUNT)]


def fingerprint(index: int) -> str:
    """Of pixels and labels of one picture."""
    drawn = Synthesiser(SynthConfig(suites={"screenshot": 1.0})).draw(8, index)
    assert drawn.image is not None
    labels = repr([(sample.id, sample.messages) for sample in drawn.samples])
    return hashlib.sha256(drawn.image.tobytes() + labels.encode() + repr(drawn.regions).encode()).hexdigest()


def answer(drawn: Drawn, task: str) -> str:
    """The English answer."""
    return next(sample.answer for sample in drawn.samples if sample.task == task and sample.language == "en")


@needs_chromium
def test_every_task_is_asked_and_pictures_are_as_large_as_said() -> None:
    tasks = {sample.task for drawn in draw() for sample in drawn.samples}
    assert tasks == set(SUITES.get("screenshot").tasks)
    for drawn in draw():
        assert drawn.image is not None
        assert drawn.image.mode == "RGB"
        assert max(drawn.image.size) == 448
        for region in drawn.regions:
            left, top, right, bottom = region.box
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1


@needs_chromium
def test_the_code_alone_draws_the_picture_again() -> None:
    for drawn in draw()[:8]:
        assert drawn.image is not None
        code = answer(drawn, "screenshot_html")
        again = [shared_browser().draw(code, (width, 560), 448) for width in (320, 360, 400, 448)]
        assert any(shot is not None and shot.image.tobytes() == drawn.image.tobytes() for shot in again)


@needs_chromium
def test_boxes_of_buttons_have_the_colour_that_the_code_gives_them() -> None:
    seen = 0
    for drawn in draw():
        assert drawn.image is not None
        code, pixels = answer(drawn, "screenshot_html"), np.asarray(drawn.image).astype(int)
        colour = re.search(r"^button \{.*background: (\w+) \}", code, flags=re.MULTILINE)
        texts = re.findall("<button>([^<]*)</button>", code)
        for region in drawn.regions:
            if colour and texts.count(region.text) == 1 and sum(r.text == region.text for r in drawn.regions) == 1:
                width, height = drawn.image.size
                # Half-way down, a little inside the left side, left of the text.
                x, y = region.box[0] * width + 4, (region.box[1] + region.box[3]) / 2 * height
                wanted = ImageColor.getrgb(colour[1])
                assert np.abs(pixels[int(y), int(x)] - wanted[:3]).max() <= 2, region
                seen += 1
    assert seen > 15


@needs_chromium
def test_answers_follow_from_the_code() -> None:
    for drawn in draw():
        code = answer(drawn, "screenshot_html")
        boxes = {region.text: region.box for region in drawn.regions}
        for sample in drawn.samples:
            check(sample, code, boxes)


def check(sample: Sample, code: str, boxes: dict[str, tuple[float, ...]]) -> None:
    """One answer, by the code and the regions."""
    question = sample.messages[0].text
    quoted = ["".join(pair) for pair in re.findall('“([^”]*)”|"([^"]*)"', question)]
    match sample.task:
        case "screenshot_heading":
            assert f"<h1>{sample.answer}</h1>" in code
        case "screenshot_count":
            tag = next(tag for tag, words in COUNTED.items() if words[sample.language] in question)
            found = {
                "checkbox": code.count('type="checkbox"'),
                "input": code.count("<input") - code.count('type="checkbox"'),
            }.get(tag, len(re.findall(rf"<{tag}[ >]", code)))
            assert sample.answer == str(found)
        case "screenshot_grounding":
            (grounding,) = parse_boxes(sample.answer)
            assert grounding.label == quoted[0]
            assert grounding.box == pytest.approx(boxes[quoted[0]], abs=0.0011)
        case "screenshot_box":
            (grounding,) = parse_boxes(question)
            assert grounding.box == pytest.approx(boxes[sample.answer], abs=0.0011)
        case "screenshot_text_yesno":
            assert (sample.answer in ("是", "yes")) == (quoted[0] in boxes)
        case "screenshot_ticked_yesno":
            assert (sample.answer in ("是", "yes")) == (f" checked>{quoted[0]}<" in code)
        case _:
            assert sample.answer


@needs_chromium
def test_another_process_draws_the_same() -> None:
    script = "from tests.data.test_synth_screenshots import fingerprint; print(*map(fingerprint, range(3)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout.split() == [fingerprint(index) for index in range(3)], result.stderr


@needs_chromium
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
def test_a_forked_worker_has_a_browser_of_its_own() -> None:
    here = fingerprint(1)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(fingerprint, [1]) == [here]
    assert fingerprint(1) == here


@needs_chromium
def test_nothing_is_left_behind_by_a_process_that_is_killed() -> None:
    # Short, because Chromium makes a socket in it, whose name may have 107 bytes.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        _kill_and_look(Path(folder))


def _kill_and_look(tmp_path: Path) -> None:
    script = "from tests.data.test_synth_screenshots import fingerprint; print(fingerprint(0), flush=True); input()"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    assert list(tmp_path.glob("tuwen-chromium-*"))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while list(tmp_path.glob("tuwen-chromium-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(tmp_path.glob("tuwen-chromium-*"))


@needs_chromium
def test_a_character_without_a_font_is_named() -> None:
    browser = shared_browser()
    browser.require_glyphs("Hello 你好")
    with pytest.raises(TuwenError, match="no font of the system has .*fonts-noto-cjk"):
        browser.require_glyphs("a\U000efe01\ueeee")


@needs_chromium
def test_pages_that_are_too_tall_are_not_drawn_cut_off() -> None:
    page = "<!DOCTYPE html><body>" + "<p>a</p>" * 100
    assert shared_browser().draw(page, (400, 560), 448) is None


def test_no_chromium_means_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TUWEN_CHROMIUM", raising=False)
    with pytest.raises(TuwenError, match="no Chromium was found.*apt install chromium.*TUWEN_CHROMIUM"):
        Synthesiser(SynthConfig(suites={"screenshot": 1.0}))
    monkeypatch.setenv("TUWEN_CHROMIUM", str(tmp_path / "chrome"))
    with pytest.raises(TuwenError, match="TUWEN_CHROMIUM .*chrome: not found"):
        find_chromium()


def test_a_program_that_is_no_chromium_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "chrome"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("TUWEN_CHROMIUM", str(program))
    with pytest.raises(TuwenError, match=r"chrome: ended.*by hand") as caught:
        Synthesiser(SynthConfig(suites={"screenshot": 1.0})).draw(0, 0)
    assert "\n" not in str(caught.value)


def test_code_is_escaped_and_indented() -> None:
    body = node("body", node("h1", "a < b & c"), node("ul", node("li", "x"), node("li", "y", node("b", "z"))))
    body.children.append(node("input", placeholder='say "hi"'))
    code = write_page(body, {"body": "margin: 0"}, "en")
    assert code.split("<body>\n")[1].split("\n") == [
        "  <h1>a &lt; b &amp; c</h1>",
        "  <ul>",
        "    <li>x</li>",
        "    <li>y<b>z</b></li>",
        "  </ul>",
        '  <input placeholder="say &quot;hi&quot;">',
        "</body>",
        "</html>",
    ]
    assert json.dumps(code)
