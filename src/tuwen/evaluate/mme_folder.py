"""An MME of our own pictures, in the form in which MME is published, so that its own program can score it.

Yes/no pairs of drawn suites become subtasks of MME. The names of the subtasks are MME's, the pictures are not: such a
score stands beside no published one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tuwen.config import TuwenError, unknown_name
from tuwen.data.media import picture_bytes, suffix_of
from tuwen.data.sample import Sample
from tuwen.data.storage import written_whole
from tuwen.data.synth.asking import YES_OR_NO
from tuwen.data.synth.base import NO, YES
from tuwen.evaluate.benchmarks._mme_files import IN_FOLDERS, LISTS, QUESTIONS, RELEASE, REQUEST, TASKS

# Task of a sample → subtask of MME that asks the like.
SUBTASKS: Mapping[str, str] = {
    task: subtask
    for subtask, tasks in {
        "existence": ("existence", "object_yesno", "vqa_existence", "vqa_object_yesno"),
        "count": ("count_yesno", "vqa_count_yesno", "vqa_count_of_yesno", "vqa_compare_count_yesno"),
        "position": ("position_yesno", "relation_yesno", "vqa_position_yesno", "vqa_relation_yesno"),
        "color": ("color_yesno", "vqa_color_yesno"),
        "OCR": (
            "character_yesno",
            "document_cell_yesno",
            "document_field_yesno",
            "ocr_page_yesno",
            "ocr_yesno",
            "screenshot_text_yesno",
        ),
        "numerical_calculation": ("chart_compare_yesno", "chart_value_yesno"),
    }.items()
    for task in tasks
}
_ANSWERS = {**dict.fromkeys(YES.values(), "Yes"), **dict.fromkeys(NO.values(), "No")}
_ENDINGS = tuple(ending for wordings in YES_OR_NO.values() for ending in wordings)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        pictures: by subtask; each has two questions.
        left_out: samples by task that are no yes/no pair, or of no subtask.
    """

    pictures: Mapping[str, int]
    left_out: Mapping[str, int]


def write_mme(samples: Iterable[Sample], out: Path, subtasks: Mapping[str, str] = SUBTASKS) -> Written:
    """Write the yes/no pairs among samples as an MME: ``MME_Benchmark_release_version`` and ``Your_Results``.

    Args:
        samples: of any tasks and languages; the halves of a pair are about one picture. MME's program knows the
            English words yes and no only.
        out: folder, made where it is missing.
        subtasks: task of a sample → subtask of MME.

    Raises:
        TuwenError: for a pair that is not a question with yes and one with no, a name that is no subtask, no pairs at
            all, and what cannot be written.
    """
    for subtask in subtasks.values():
        if subtask not in TASKS:
            raise TuwenError(unknown_name("subtask of MME", subtask, list(TASKS)))
    pairs: dict[tuple[str, str], list[Sample]] = {}
    left_out: Counter[str] = Counter()
    for sample in samples:
        if sample.pair is None or sample.task not in subtasks or len(sample.images) != 1:
            left_out[sample.task] += 1
        else:
            pairs.setdefault((subtasks[sample.task], sample.pair), []).append(sample)
    if not pairs:
        raise TuwenError(f"{out}: no yes/no pairs to write an MME of; expected samples of {', '.join(subtasks)}")
    pictures: dict[str, int] = {}
    for subtask in (task for task in TASKS if any(task == key for key, _ in pairs)):
        lists = [
            _write_pair(number, pair, out / RELEASE / subtask)
            for number, pair in enumerate((pair for (key, _), pair in pairs.items() if key == subtask), start=1)
        ]
        _write(out / LISTS / f"{subtask}.txt", "".join(lists).encode())
        pictures[subtask] = len(lists)
    return Written(pictures, dict(left_out))


def _write_pair(number: int, pair: list[Sample], folder: Path) -> str:
    """Write a picture and its two questions.

    Returns:
        Their lines in the official tool's list.
    """
    answers = [_ANSWERS.get(sample.answer.strip().lower()) for sample in pair]
    if sorted(map(str, answers)) != ["No", "Yes"]:
        found = ", ".join(repr(sample.answer) for sample in pair)
        raise TuwenError(f"pair {pair[0].pair}: answers {found}; expected one yes and one no")
    data = picture_bytes(pair[0].images[0])
    name = f"{number:04d}{suffix_of(data)}"
    split = folder.name in IN_FOLDERS
    _write(folder / ("images" if split else "") / name, data)
    lines = [f"{_question(sample)}\t{answer}\n" for sample, answer in zip(pair, answers, strict=True)]
    _write(folder / (QUESTIONS if split else "") / f"{number:04d}.txt", "".join(lines).encode())
    return "".join(f"{name}\t{line}" for line in lines)


def _question(sample: Sample) -> str:
    """A question in one line, with MME's request in place of our own."""
    text = " ".join(sample.messages[-2].text.split())
    for ending in _ENDINGS:
        text = text.removesuffix(ending).rstrip()
    return f"{text} {REQUEST}"


def _write(path: Path, data: bytes) -> None:
    with written_whole(path) as partial:
        partial.write_bytes(data)
