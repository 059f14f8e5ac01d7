"""Suites mixed by weight, every picture a pure function of (seed, index), in one process or many."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from pydantic import Field, field_validator

from tuwen.config import StrictConfig, TuwenError, unknown_name
from tuwen.data.sample import Language
from tuwen.data.synth.base import LANGUAGES, SUITES, Drawn, Suite, SuiteSettings

CHUNK = 64


class SynthConfig(StrictConfig):
    """What is drawn.

    Attributes:
        suites: how often each suite is drawn from, relative to the others.
        size: sides of the pictures, in pixels.
        languages: of the questions that are kept.
        tasks: that are kept; all of the suites' unless said.
        font: a font file; one of the system's Chinese fonts unless said.
    """

    suites: dict[str, float] = Field(min_length=1)
    size: int = Field(default=128, ge=64, le=2048)
    languages: list[Language] = Field(default=list(LANGUAGES), min_length=1)
    tasks: list[str] | None = None
    font: str | None = None

    @field_validator("suites")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if name not in SUITES.names():
                raise ValueError(unknown_name("synthesis suite", name, SUITES.names()))
            if not weight > 0:
                raise ValueError(f"{name}: a weight must be above 0, found {weight}")
        return value


class Synthesiser:
    """Draws pictures with their questions.

    Args:
        config: what is drawn.

    Raises:
        TuwenError: when a font is missing, lacks a character, or no suite has a task that is named.
    """

    def __init__(self, config: SynthConfig) -> None:
        self.config = config
        settings = SuiteSettings(size=config.size, font=config.font)
        self._suites: list[Suite] = [SUITES.get(name)(settings) for name in config.suites]
        known = sorted({task for suite in self._suites for task in suite.tasks})
        for task in config.tasks or ():
            if task not in known:
                raise TuwenError(f"tasks: {unknown_name('task', task, known)}")

    def draw(self, seed: int, index: int) -> Drawn:
        """Picture number ``index`` of ``seed``; equal on every machine with the same fonts."""
        rng = random.Random(f"suite-{seed}-{index}")
        suite = rng.choices(self._suites, list(self.config.suites.values()))[0]
        drawn = suite.draw(seed, index)
        kept = tuple(
            sample
            for sample in drawn.samples
            if sample.language in self.config.languages
            and (self.config.tasks is None or sample.task in self.config.tasks)
        )
        return Drawn(drawn.image, kept, drawn.regions)

    def texts(self, seed: int, count: int) -> list[str]:
        """About ``count`` questions and answers, and every word that can be drawn."""
        found: list[str] = []
        index = 0
        while len(found) < count and index < count:
            found += [message.text for sample in self.draw(seed, index).samples for message in sample.messages]
            index += 1
        return found + [word for suite in self._suites for word in suite.words() * 4]


def draw_many(config: SynthConfig, seed: int, indices: range, workers: int = 2) -> Iterator[Drawn]:
    """The pictures of ``indices`` in order, drawn by several processes; bounded in memory.

    Args:
        config: what is drawn.
        seed: of everything.
        indices: which pictures.
        workers: processes; 1 draws in this one.
    """
    if workers <= 1:
        synthesiser = Synthesiser(config)
        yield from (synthesiser.draw(seed, index) for index in indices)
        return
    chunks = (indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(config,)) as pool:
        waiting = [pool.submit(_draw_chunk, seed, chunk) for chunk in islice(chunks, workers * 4)]
        while waiting:
            done = waiting.pop(0).result()
            waiting += [pool.submit(_draw_chunk, seed, chunk) for chunk in islice(chunks, 1)]
            yield from done


_worker: list[Synthesiser] = []


def _prepare(config: SynthConfig) -> None:
    _worker[:] = [Synthesiser(config)]


def _draw_chunk(seed: int, indices: range) -> list[Drawn]:
    return [_worker[0].draw(seed, index) for index in indices]
