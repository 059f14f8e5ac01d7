"""Pictures to begin with, drawn by the generator that draws training data, with questions in both languages."""

from __future__ import annotations

from typing import Any

from tuwen.config import TuwenError
from tuwen.data.looking.page import png
from tuwen.data.synth import SynthConfig, Synthesiser

SIZE, SEED = 448, 5
# Suites, and what is asked of their pictures.
EXAMPLES = (
    ("grounding", "ground_caption"),
    ("caption", "caption_long"),
    ("chart", "chart_highest"),
    ("document", "document_json"),
    ("meme", "meme_explain"),
    ("vqa", "vqa_sentence_color"),
)


def draw_examples() -> list[dict[str, Any]]:
    """Pictures as ``data:`` URLs, each with a question in both languages; fewer where there is no font to draw with."""
    drawn = (draw_example(suite, task) for suite, task in EXAMPLES)
    return [example for example in drawn if example is not None]


def draw_example(suite: str, task: str) -> dict[str, Any] | None:
    """One picture with its question; None where it cannot be drawn here."""
    config = SynthConfig(suites={suite: 1}, size=SIZE, tasks=[task], questions=None)
    try:
        drawn = Synthesiser(config).draw(SEED, 0)
    except TuwenError:
        return None
    asked: dict[str, str] = {sample.language: sample.messages[0].text for sample in reversed(drawn.samples)}
    return {"picture": png(drawn.image), **asked} if drawn.image is not None and len(asked) == 2 else None
