"""Whether a reference is contained in a reply: the rule of OCRBench (Liu et al. 2023, "OCRBench: On the Hidden Mystery
of OCR in Large Multimodal Models")."""

from __future__ import annotations

from collections.abc import Iterable


def plain(text: str) -> str:
    """Lower case, no blanks around, newlines as blanks."""
    return text.lower().strip().replace("\n", " ")


def formula(text: str) -> str:
    """A formula without any blanks; its case matters."""
    return text.strip().replace("\n", " ").replace(" ", "")


def contains_any(reply: str, references: Iterable[str], *, formulas: bool) -> bool:
    """Whether one of the references is contained in the reply; an empty one always is.

    Args:
        reply: as it was given.
        references: any of which will do.
        formulas: whether they are formulas.
    """
    form = formula if formulas else plain
    made = form(reply)
    return any(form(reference) in made for reference in references)
