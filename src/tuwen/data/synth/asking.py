"""Questions in one language, each in one of several wordings."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tuwen.data.sample import Language
from tuwen.data.synth.base import Page, Wordings

# How often a question says in which form it wants its answer.
FORM_SAID = 0.25
SHORTLY: Wordings = {
    "zh": ("请用词语简短回答。", "用一个词回答。", "只写答案。"),
    "en": ("Answer with a word or phrase.", "Answer briefly.", "Give only the answer."),
}
YES_OR_NO: Wordings = {
    "zh": ("请回答是或否。", "回答“是”或“否”。"),
    "en": ("Please answer yes or no.", "Answer yes or no."),
}


@dataclass(slots=True)
class Asker:
    """Adds questions to a page.

    Attributes:
        page: that they are about.
        language: of questions and answers.
        rng: that chooses the wording.
        wordings: task → ways to ask, with names in braces.
    """

    page: Page
    language: Language
    rng: random.Random
    wordings: Mapping[str, Wordings]

    def ask(self, task: str, answer: str, **words: str) -> None:
        """Add a question.

        Args:
            task: of ``wordings``.
            answer: to it.
            words: for the names in its wording.
        """
        self.page.ask(task, self.language, self.worded(task).format(**words), answer)

    def ask_shortly(self, task: str, answer: str, **words: str) -> None:
        """Add a question that is answered in a word or two; now and then it says so."""
        text = self.worded(task).format(**words) + self._form(SHORTLY)
        self.page.ask(task, self.language, text, answer)

    def ask_pair(self, task: str, true: Mapping[str, str], false: Mapping[str, str]) -> None:
        """Add two questions in the same wording, the answer to the first of which is yes, to the second no."""
        wording, form = self.worded(task), self._form(YES_OR_NO)
        self.page.ask_pair(task, self.language, wording.format(**true) + form, wording.format(**false) + form)

    def worded(self, task: str) -> str:
        """One of a task's wordings."""
        return self.rng.choice(self.wordings[task][self.language])

    def _form(self, wordings: Wordings) -> str:
        if self.rng.random() >= FORM_SAID:
            return ""
        return ("" if self.language == "zh" else " ") + self.rng.choice(wordings[self.language])
