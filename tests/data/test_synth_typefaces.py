"""Faces to choose from: only those that have every character, always in the same order, with their versions."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from tuwen.config import TuwenError
from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.data.synth import fonts as fonts_module
from tuwen.data.synth.base import region
from tuwen.data.synth.font_names import font_version
from tuwen.data.synth.fonts import find_font, font_versions, ink_of, typefaces
from tuwen.data.synth.vocabulary.corpus import LATIN, Corpus

LATIN_ONLY = {"suites": {"ocr": 1}, "settings": {"ocr": {"scripts": {"latin": 1}}}}


@pytest.fixture
def latin_font(tmp_path: Path) -> str:
    """A font without a single hanzi: the one inside Pillow."""
    path = tmp_path / "latin.ttf"
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    path.write_bytes(font.font_bytes)
    return str(path)


def test_each_face_has_a_version_and_is_named() -> None:
    versions = font_versions()
    assert versions
    assert all(name and any(digit.isdigit() for digit in version) for name, version in versions.items())
    faces = {face.name for script in ("simplified", "traditional", "latin") for face in typefaces(script, "a")}
    assert faces <= set(versions)


def test_a_version_is_read_or_empty_never_an_error(latin_font: str, tmp_path: Path) -> None:
    assert "3.100" in font_version(latin_font) or font_version(latin_font)
    whole = Path(latin_font).read_bytes()
    rng = random.Random(0)
    for number, length in enumerate((0, 3, 11, 13, 40, 300, len(whole) // 2)):
        broken = tmp_path / f"{number}.ttf"
        broken.write_bytes(b"ttcf" * (number % 2) + whole[:length] + rng.randbytes(20))
        assert isinstance(font_version(str(broken)), str)


def test_a_font_without_the_characters_is_refused_by_name(latin_font: str) -> None:
    assert [face.file for face in typefaces("latin", LATIN, latin_font)] == [latin_font]
    with pytest.raises(TuwenError, match=r"latin.ttf: has no glyph for .*fonts-noto-cjk"):
        typefaces("simplified", Corpus("simplified").alphabet(), latin_font)
    for suite in ("ocr", "document", "chart"):
        with pytest.raises(TuwenError, match=r"latin.ttf: has no glyph for"):
            Synthesiser(SynthConfig(suites={suite: 1.0}, font=latin_font))


def test_what_is_written_in_latin_letters_needs_no_chinese_font(latin_font: str) -> None:
    config = SynthConfig.model_validate({**LATIN_ONLY, "font": latin_font})
    drawn = Synthesiser(config).draw(0, 0)
    assert max("".join(region.text for region in drawn.regions)) <= "~"


def test_the_chosen_font_is_the_only_one(monkeypatch: pytest.MonkeyPatch, latin_font: str) -> None:
    several = typefaces("latin", "abc")
    assert several == typefaces("latin", "abc")
    monkeypatch.setenv("TUWEN_FONT", latin_font)
    assert [face.file for face in typefaces("latin", "abc")] == [latin_font]


def test_faces_that_lack_a_character_are_left_out() -> None:
    every = typefaces("latin", "a")
    chinese = typefaces("latin", "a国")
    assert set(chinese) <= set(every)
    assert chinese


def test_no_font_means_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts_module, "_installed", lambda script: ())
    monkeypatch.setattr(fonts_module, "KNOWN", ())
    monkeypatch.delenv("TUWEN_FONT", raising=False)
    with pytest.raises(TuwenError, match="no Chinese font was found: install one .*TUWEN_FONT"):
        Synthesiser(SynthConfig(suites={"chart": 1.0}))


@pytest.mark.parametrize("text", ["国", "fjord", "A1。", "—", "Wi-Fi"])
def test_ink_is_cut_to_its_sides(text: str) -> None:
    font = ImageFont.truetype(find_font(), 40)
    mask, (left, top) = ink_of(text, font)
    pixels = np.asarray(mask)
    assert all(side.any() for side in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    assert -10 < left < 20
    assert -50 < top < 0


def test_regions_are_fractions_of_both_sides() -> None:
    assert region((10, 10, 50, 40), 100, "a").box == (0.1, 0.1, 0.5, 0.4)
    assert region((10, 10, 50, 40), (200, 50), "a").box == (0.05, 0.2, 0.25, 0.8)
    assert region((-10, 10, 300, 60), (200, 50), "a").box == (0.0, 0.2, 1.0, 1.0)
