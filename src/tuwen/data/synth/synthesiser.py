"""Suites mixed by weight, every picture a pure function of (seed, index)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator, model_validator

from tuwen.config import StrictConfig, TuwenError, parse_config, unknown_name
from tuwen.data.sample import Language
from tuwen.data.synth.base import LANGUAGES, NO, SUITES, YES, AnySuite, Drawn, Question

# A picture about which nothing can be asked of what is kept is drawn again; no suite needs more than a few.
ATTEMPTS = 1000
COMMON_SETTINGS = ("size", "font")


class SynthConfig(StrictConfig):
    """What is drawn.

    Attributes:
        suites: how often each suite is drawn from, relative to the others.
        size: sides of square pictures, the longer side of others, in pixels; each suite's own unless said.
        languages: of the questions that are kept.
        tasks: that are kept; all of the suites' unless said.
        preference: whether questions are kept that are answered by yes or no alone, each with the other answer as the
            rejected one.
        questions: about a picture at most; the halves of a pair stay together. None keeps all.
        font: a font file; one of the system's Chinese fonts unless said.
        settings: of single suites, e.g. ``{"words": {"longest": 6}}``.
    """

    suites: dict[str, float] = Field(min_length=1)
    size: int | None = Field(default=None, ge=64, le=2048)
    languages: list[Language] = Field(default=list(LANGUAGES), min_length=1)
    tasks: list[str] | None = None
    preference: bool = False
    questions: int | None = Field(default=14, ge=2)
    font: str | None = None
    settings: dict[str, dict[str, Any]] = Field(default={})

    @field_validator("suites")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if name not in SUITES.names():
                raise ValueError(unknown_name("synthesis suite", name, SUITES.names()))
            if not 0 < weight < float("inf"):
                raise ValueError(f"{name}: a weight must be above 0, found {weight}")
        return value

    @model_validator(mode="after")
    def _settings_fit(self) -> SynthConfig:
        for name, values in self.settings.items():
            if name not in self.suites:
                raise ValueError(f"settings: {unknown_name('suite', name, list(self.suites))}")
            for key in COMMON_SETTINGS:
                if key in values:
                    raise ValueError(f"settings.{name}.{key}: set it for all suites, beside suites")
            parse_config(SUITES.get(name).settings_class, values, f"settings.{name}")
        return self


class Synthesiser:
    """Draws pictures with their questions.

    Args:
        config: what is drawn.

    Raises:
        TuwenError: when a font is missing or lacks a character, no suite has a task that is named, or a suite
            has none of those that are.
    """

    def __init__(self, config: SynthConfig) -> None:
        self.config = config
        self._suites: list[AnySuite] = [self._suite(name) for name in config.suites]
        self._weights = list(config.suites.values())
        self._tasks = None if config.tasks is None else frozenset(config.tasks)
        known = sorted({task for suite in self._suites for task in suite.tasks})
        for task in config.tasks or ():
            if task not in known:
                raise TuwenError(f"tasks: {unknown_name('task', task, known)}")
        for suite in self._suites:
            if self._tasks is not None and self._tasks.isdisjoint(suite.tasks):
                raise TuwenError(
                    f"suites.{suite.name}: tasks keeps none of its tasks ({', '.join(suite.tasks)}): "
                    "add one of them or leave the suite out"
                )

    def _suite(self, name: str) -> AnySuite:
        suite = SUITES.get(name)
        own = self.config.settings.get(name, {})
        given = {key: getattr(self.config, key) for key in COMMON_SETTINGS}
        common = {key: value for key, value in given.items() if value is not None}
        return suite(parse_config(suite.settings_class, {**common, **own}, f"settings.{name}"))

    def draw(self, seed: int, index: int) -> Drawn:
        """Picture number ``index`` of ``seed`` with at least one question; equal in every process.

        Pixels are equal on every machine with the same fonts and the same versions of Pillow and NumPy; those of
        ``screenshot`` with the same Chromium and the same fonts of the system.
        """
        rng = random.Random(f"suite-{seed}-{index}")
        suite = rng.choices(self._suites, self._weights)[0]
        for attempt in range(ATTEMPTS):
            page = suite.page(seed, index, attempt)
            kept = self._keep(page.questions, rng)
            if kept:
                drawn = page.drawn(kept)
                return _with_rejected(drawn) if self.config.preference else drawn
        wanted = "that preference can be learnt from" if self.config.preference else "of tasks: keep more of them"
        raise TuwenError(f"suites.{suite.name}: none of {ATTEMPTS} pictures has a question {wanted}")

    def _keep(self, questions: Sequence[Question], rng: random.Random) -> list[Question]:
        languages, tasks, most = self.config.languages, self._tasks, self.config.questions
        kept = [
            question
            for question in questions
            if question.language in languages
            and (tasks is None or question.task in tasks)
            and (question.pair is not None or not self.config.preference)
        ]
        if most is None or len(kept) <= most:
            return kept
        # Whole pairs are shuffled and taken, so no half is ever left alone.
        units: dict[str | int, list[Question]] = {}
        for question in kept:
            units.setdefault(question.pair or question.number, []).append(question)
        order = list(units.values())
        rng.shuffle(order)
        chosen: list[Question] = []
        for unit in order:
            if len(chosen) + len(unit) <= most:
                chosen += unit
        return sorted(chosen, key=lambda question: question.number)

    def texts(self, seed: int, count: int) -> list[str]:
        """About ``count`` questions and answers, and every word that can be drawn, for training a tokenizer."""
        found: list[str] = []
        index = 0
        while len(found) < count:
            found += [message.text for sample in self.draw(seed, index).samples for message in sample.messages]
            index += 1
        return found + [word for suite in self._suites for word in suite.words() * 4]


def _with_rejected(drawn: Drawn) -> Drawn:
    """The same, each question with the answer of the other half of its pair beside its own."""
    other = {
        answers[language]: turned[language] for language in LANGUAGES for answers, turned in ((YES, NO), (NO, YES))
    }
    return replace(drawn, samples=tuple(replace(sample, rejected=other[sample.answer]) for sample in drawn.samples))
