"""A font is found, or the advice is; and no character is ever drawn as an empty box."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ImageFont

from tuwen.config import TuwenError
from tuwen.data.synth import SynthConfig, Synthesiser
from tuwen.data.synth import fonts as fonts_module
from tuwen.data.synth.fonts import KNOWN, find_font, glyph, open_font, require_glyphs
from tuwen.data.synth.glyphs import LATIN
from tuwen.data.synth.words import ENGLISH, HANZI

INSTALLED = [path for path in KNOWN if Path(path).is_file()]


@pytest.fixture
def latin_font(tmp_path: Path) -> str:
    """A font without a single hanzi: the one inside Pillow."""
    path = tmp_path / "latin.ttf"
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    path.write_bytes(font.font_bytes)
    return str(path)


@pytest.mark.parametrize("path", INSTALLED)
def test_installed_fonts_have_every_character(path: str) -> None:
    require_glyphs(HANZI + LATIN + "".join(ENGLISH), path)
    inks = {(mask.size, mask.tobytes()) for mask in (glyph(character, 24, path)[0] for character in HANZI)}
    assert len(inks) == len(HANZI), "two characters look the same: is one of them a box?"


def test_lists_are_long_enough_and_without_repeats() -> None:
    assert len(set(HANZI)) == len(HANZI) >= 60
    assert len(set(ENGLISH)) == len(ENGLISH) >= 60


@pytest.mark.skipif(not any("NotoSansCJK" in path for path in INSTALLED), reason="Noto Sans CJK is not installed")
def test_the_simplified_face_of_a_collection_is_taken() -> None:
    path = next(path for path in INSTALLED if "NotoSansCJK" in path)
    assert open_font(20, path).getname()[0] == "Noto Sans CJK SC"


def test_a_font_without_the_characters_is_refused_by_name(latin_font: str) -> None:
    require_glyphs("Hello", latin_font)
    with pytest.raises(TuwenError, match=r"latin.ttf: has no glyph for '山水' \(2 characters\).*TUWEN_FONT"):
        require_glyphs("a山 b水", latin_font)
    with pytest.raises(TuwenError, match=r"latin.ttf: has no glyph for .*fonts-noto-cjk"):
        Synthesiser(SynthConfig(suites={"words": 1.0}, font=latin_font))


def test_what_draws_no_text_needs_no_font(latin_font: str) -> None:
    config = SynthConfig(suites={"shapes": 1.0, "faces": 1.0, "text": 1.0}, font=latin_font)
    assert Synthesiser(config).draw(0, 0).samples


def test_the_font_can_be_chosen(monkeypatch: pytest.MonkeyPatch, latin_font: str) -> None:
    monkeypatch.setenv("TUWEN_FONT", latin_font)
    assert find_font() == latin_font
    assert open_font(20).getname() == open_font(20, latin_font).getname()
    monkeypatch.delenv("TUWEN_FONT")
    assert find_font() == INSTALLED[0]
    assert open_font(20).getname() != open_font(20, latin_font).getname()


def test_no_font_means_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(TuwenError, match="nowhere.ttf: not found; install one .*fonts-noto-cjk"):
        find_font(str(tmp_path / "nowhere.ttf"))
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"not a font")
    with pytest.raises(TuwenError, match="broken.ttf: cannot be read"):
        open_font(20, str(broken))
    monkeypatch.setattr(fonts_module, "KNOWN", ())
    monkeypatch.delenv("TUWEN_FONT", raising=False)
    with pytest.raises(TuwenError, match="no Chinese font was found: install one .*TUWEN_FONT"):
        Synthesiser(SynthConfig(suites={"words": 1.0}))
