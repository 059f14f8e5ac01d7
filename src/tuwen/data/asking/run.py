"""A data file made by asking models: OUT, the replies beside it, and the names of what was rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tuwen.config import TuwenError
from tuwen.data.asking.answers import Answers, AskingOptions, Rejection, Tally, write_rejections
from tuwen.data.asking.display import AskingDisplay, figures_of, tokens_and_cost
from tuwen.data.dataset import check_out, container_for
from tuwen.data.endpoint.reply import Usage
from tuwen.data.endpoint.reply_cache import ReplyCache
from tuwen.data.formats.base import FORMATS

MOST_KINDS = 6


@dataclass(frozen=True, slots=True)
class Job:
    """What is written, and where.

    Attributes:
        out: the data file.
        title: what is done, in a word or two.
        options: how models are asked.
        format: of the data file.
    """

    out: Path
    title: str
    options: AskingOptions
    format: str = "tuwen"

    @property
    def cache(self) -> Path:
        """Where replies are kept."""
        return self.out.with_name(f"{self.out.name}.cache.jsonl")

    @property
    def rejected(self) -> Path:
        """Where the names of what was rejected are written."""
        return self.out.with_name(f"{self.out.name}.rejected.jsonl")

    def check(self, sources: Iterable[str]) -> None:
        """Refuse what would be found out only after everything was asked and paid for.

        Args:
            sources: files that must not be overwritten.

        Raises:
            TuwenError: when ``out`` is one of them or another's file, or its suffix does not fit the format.
        """
        check_out(self.out, self.format, sources)
        if self.out.exists() and not self.cache.exists():
            raise TuwenError(f"{self.out}: is there already, without {self.cache.name} of an earlier run beside it")

    @contextmanager
    def replies(self, console: Console) -> Iterator[tuple[ReplyCache, AskingDisplay]]:
        """The replies kept so far, and a display; says what is kept when the work is broken off."""
        with ReplyCache(self.cache) as cache:
            if cache.cut_off:
                console.print(f"{self.cache}: the last reply was cut off; it is asked for again", highlight=False)
            try:
                with AskingDisplay(self.title, self.options, console) as display:
                    yield cache, display
            except (KeyboardInterrupt, TuwenError):
                if len(cache):
                    kept = f"{len(cache):,} replies are kept in {self.cache}; run again to go on"
                    console.print(kept, highlight=False, soft_wrap=True)
                raise


def fits(out: Path, format: str) -> bool:
    """Whether a format can be written to a file of this name."""
    try:
        container_for(out, FORMATS.get(format))
    except TuwenError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run did.

    Attributes:
        job: what was to be done.
        written: samples in the data file.
        rejections: what was left out.
        tally: counts of this run.
        usage: tokens of all runs.
    """

    job: Job
    written: int
    rejections: list[Rejection]
    tally: Tally
    usage: Usage

    def lines(self) -> list[str]:
        """What to tell a person, in rich's markup."""
        options, out = self.job.options, self.job.out
        copied = self.written - self.tally.done
        asked = f", {copied:,} of them without a request" if copied else ""
        found = [f"{self.job.title}: {self.written:,} samples{asked}  [cyan]{out}[/]", figures_of(self.tally, options)]
        if self.usage != self.tally.usage:
            found.append("  ".join(["with earlier runs:", *tokens_and_cost(self.usage, options)]))
        if self.rejections:
            kinds = Counter(one.kind for one in self.rejections).most_common(MOST_KINDS)
            reasons = ", ".join(f"{kind} {count:,}" for kind, count in kinds)
            found.append(f"[yellow]{len(self.rejections):,} rejected[/] ({reasons})  [cyan]{self.job.rejected}[/]")
            found.append("run again with --retry-rejected to ask for these anew")
        return found


def report(job: Job, answers: Answers[Any], written: int, cache: ReplyCache) -> Report:
    """Write the names of what was rejected beside the data file, and say what was done.

    Raises:
        TuwenError: when nothing is left.
    """
    rejections = [answers.rejections[place] for place in sorted(answers.rejections)]
    write_rejections(rejections, job.rejected)
    if rejections and not written:
        first = rejections[0]
        raise TuwenError(f"{job.rejected}: all was rejected; the first, {first.name}: {first.reason}")
    return Report(job=job, written=written, rejections=rejections, tally=answers.tally, usage=cache.usage)
