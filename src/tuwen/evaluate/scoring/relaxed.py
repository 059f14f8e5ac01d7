"""Relaxed accuracy of charts: a number may be five percent off, a text must be the same.

Methani et al. 2020, "PlotQA"; Masry et al. 2022, "ChartQA"; in code first by Pix2Struct, whose function Qwen-VL,
VLMEvalKit and lmms-eval have taken over, some of them with the two arguments interchanged.
"""

from __future__ import annotations

TOLERANCE = 0.05


def number(text: str) -> float | None:
    """A text as a number, a percentage as its fraction; None where it is neither, as with grouped digits."""
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed(target: str, prediction: str) -> bool:
    """Pix2Struct's function: five percent of the target; the same text, whatever its case, where that is no number.

    A target of 0 is compared as text.
    """
    predicted, expected = number(prediction), number(target)
    if predicted is not None and expected:
        return abs(predicted - expected) / abs(expected) <= TOLERANCE
    return prediction.lower() == target.lower()


def pix2struct(reply: str, label: str) -> bool:
    """Pix2Struct and lmms-eval: the reply as it is."""
    return relaxed(label, reply)


def qwen_vl(reply: str, label: str) -> bool:
    """Qwen-VL, and VLMEvalKit until 0.2: blanks around the reply do not count, and five percent are of the reply."""
    return relaxed(reply.strip(), label)


def vlmevalkit_head(reply: str, label: str) -> bool:
    """VLMEvalKit of 2026: blanks around the reply do not count, five percent are of the label."""
    return relaxed(label, reply.strip())
