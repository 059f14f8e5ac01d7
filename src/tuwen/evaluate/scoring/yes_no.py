"""Yes or no: what programs read a reply as, and what they count. A reply that is neither is never a guess."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tuwen.evaluate.figures import Count, Figure, count, quotient
from tuwen.evaluate.scoring.vqa_normalise import VLMEVALKIT_HEAD_MARKS

PREFIX = 4
# What a reply that was read as yes or no is called here, by the words that programs have for it.
READ_AS = {"yes": "yes", "no": "no", "Yes": "yes", "No": "no"}


def mme_official(reply: str) -> str:
    """MME's own program: ``yes``, ``no`` or ``other``, by the first four characters, blanks among them."""
    return _by_prefix(reply.lower())


def mme_lmms_eval(reply: str) -> str:
    """lmms-eval for MME: as the official program, once blanks around and periods are gone; ``y`` and ``n`` will do."""
    bare = reply.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(bare) or _by_prefix(bare)


def _by_prefix(reply: str) -> str:
    start = reply[:PREFIX]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def vlmevalkit_words(reply: str) -> str:
    """VLMEvalKit: ``Yes`` when yes is one of the words and no is not, ``No`` the other way round, else ``Unknown``."""
    words = set(VLMEVALKIT_HEAD_MARKS.strip(reply.lower()).split())
    if ("yes" in words) == ("no" in words):
        return "Unknown"
    return "Yes" if "yes" in words else "No"


def pope_first_sentence(reply: str) -> str:
    """POPE's program, and LLaVA's after it: ``no`` when the first sentence has a no or not in it, else ``yes``."""
    words = reply.split(".")[0].replace(",", "").split(" ")
    return "no" if any(word in words for word in ("No", "no", "not")) else "yes"


def whole_reply(reply: str) -> str:
    """lmms-eval for POPE: the reply in lower case without blanks around it, which only as a whole is yes or no."""
    return reply.lower().strip()


@dataclass(frozen=True, slots=True)
class Counts:
    """Right and wrong answers, of which yes is the positive one.

    Attributes:
        tp: yes, rightly.
        fp: yes, wrongly.
        tn: no, rightly.
        fn: no, wrongly.
    """

    tp: Count
    fp: Count
    tn: Count
    fn: Count

    @classmethod
    def of(cls, answers: Iterable[tuple[str, bool, bool]]) -> Counts:
        """Count answers: the item, whether yes was said, and whether it should have been."""
        found = list(answers)
        tp, fp, tn, fn = (
            count((name, (said, true) == kind) for name, said, true in found)
            for kind in ((True, True), (True, False), (False, False), (False, True))
        )
        return cls(tp, fp, tn, fn)

    @property
    def precision(self) -> Figure:
        """Of what was said to be there, how much is; 0 where nothing was."""
        return quotient(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Figure:
        """Of what is there, how much was said to be; 0 where nothing is."""
        return quotient(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> Figure:
        """The harmonic mean of precision and recall; 0 where both are."""
        return quotient(2 * (self.precision * self.recall), self.precision + self.recall)
