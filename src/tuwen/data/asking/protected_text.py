"""Parts of a text that must come through a translation as they are, replaced by numbered marks ``⟦1⟧``.

Boxes and tags, code, formulas, addresses. Marks are put where the text between stays a sentence: in
``<ref>the cat</ref><box>(1,2),(3,4)</box>`` the words are translated, and what is around them becomes two marks.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

MARK = re.compile("⟦([0-9]{1,4})⟧")
# All repetition is bounded, so that searching takes time linear in the text. The first that fits at a place is taken.
_KINDS = (
    "```.{0,20000}?```",
    "`[^`\n]{1,500}`",
    r"\$\$[^$]{1,2000}\$\$",
    # As pandoc tells formulas from sums of money: no blank inside the signs, no digit behind.
    r"\$(?=[^\s$])[^$\n]{0,500}(?<=[^\s$])\$(?![0-9])",
    r"\\\(.{0,2000}?\\\)",
    r"\\\[.{0,2000}?\\\]",
    # What is left of LaTeX: JSON takes the beginning of \frac and \times for a control character.
    r"\\(?:[A-Za-z]{1,40}|.)",
    r"<(box|quad|point|poly)>[^<]{0,2000}</\1>",
    r"<\|[A-Za-z0-9_ ]{1,60}\|>",
    "</?[A-Za-z][^<>\n]{0,300}>",
    r"\[ ?-?[0-9.]{1,12}(?: ?, ?-?[0-9.]{1,12}){1,63} ?\]",
    r"\([0-9.]{1,12} ?, ?[0-9.]{1,12}\)(?: ?, ?\([0-9.]{1,12} ?, ?[0-9.]{1,12}\)){0,63}",
    r"(?:https?|ftp)://[!-'*-;=?-Z_a-z~%#\[\]]{1,2000}(?<![.,;:!?'])",
    r"www\.[a-z0-9-]{1,63}\.[A-Za-z0-9./_-]{1,500}(?<![.,-])",
    r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]{1,63}\.[A-Za-z0-9.-]{1,100}(?<![.-])",
    "[⟦⟧]",
)
_PROTECTED = re.compile("|".join(f"(?:{kind})" for kind in _KINDS), re.DOTALL)


@dataclass(frozen=True, slots=True)
class ProtectedText:
    """A text with marks in it.

    Attributes:
        text: with marks.
        parts: what the marks stand for; ``⟦1⟧`` for the first.
    """

    text: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> ProtectedText:
        """``text`` with everything in it protected that has to be."""
        pieces: list[str] = []
        parts: list[str] = []
        end = 0
        for match in _PROTECTED.finditer(text):
            between = text[end : match.start()]
            if parts and not between:
                # Nothing to translate between the two: they share a mark.
                parts[-1] += match[0]
            else:
                parts.append(match[0])
                pieces += [between, f"⟦{len(parts)}⟧"]
            end = match.end()
        return cls("".join(pieces) + text[end:], tuple(parts))

    def restore(self, text: str) -> str:
        """``text`` with what the marks in it stand for."""
        return MARK.sub(lambda mark: self.parts[int(mark[1]) - 1], text)

    def misused_marks(self, text: str) -> str:
        """Which marks ``text`` lacks, repeats or invents, for people; empty where each is in it just once."""
        found = Counter(MARK.findall(text))
        known = [str(number) for number in range(1, len(self.parts) + 1)]
        lost = [f"⟦{number}⟧ is missing" for number in known if number not in found]
        repeated = [f"⟦{number}⟧ comes {found[number]} times" for number in known if found[number] > 1]
        invented = [f"⟦{number}⟧ is none of them" for number in found if number not in known]
        return ", ".join(lost + repeated + invented)


def without_marks(text: str) -> str:
    """``text`` with a blank in the place of every mark."""
    return MARK.sub(" ", text)
