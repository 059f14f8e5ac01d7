"""What benchmarks of captions share: references in COCO's layout, and the COCO caption program's figures.

METEOR and SPICE are left out: both are Java programs with models of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import Benchmark, Item, Parsed, Prediction, Score
from tuwen.evaluate.benchmarks._picture_paths import PicturePaths
from tuwen.evaluate.benchmarks._replies import require_known, text_of
from tuwen.evaluate.files import (
    OWN_FILE,
    and_others,
    by_id,
    listed,
    numbered,
    official_id,
    own_predictions,
    prediction_paths,
    read_json,
    text,
    value,
    write_records,
)
from tuwen.evaluate.scoring import characters, ptb
from tuwen.evaluate.scoring.captions import caption_scores

RESULTS = "results.json"
# LLaVA's and lmms-eval's wording, Qwen-VL's, and one for Chinese references.
PROMPTS: Mapping[str, str] = {
    "llava": "Provide a one-sentence caption for the provided image.",
    "qwen": "Describe the image in English:",
    "zh": "用一句话描述这张图片。",
}
# CIDEr goes up to this.
MOST = 10.0
Tokenise = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Captioned:
    """A picture with its references."""

    id: str
    picture: Path
    references: tuple[str, ...]


class Captions(Benchmark):
    """A benchmark whose items are pictures to describe in a sentence."""

    # Files with references, of which the first that is there is read.
    references: ClassVar[tuple[str, ...]]

    styles = tuple(PROMPTS)

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """The COCO caption program, and the same with a token for each Han character."""
        return {
            "pycocoevalcap": partial(self._score, ptb.tokenise),
            "by_character": partial(self._score, characters.tokenise),
        }

    @cached_property
    def captioned(self) -> dict[str, Captioned]:
        """Pictures by id, in the file's order.

        Raises:
            TuwenError: naming the file, record or picture that is missing or wrong.
        """
        path = next((self.data / name for name in self.references if (self.data / name).is_file()), None)
        if path is None:
            raise TuwenError(f"{self.data}: no references; expected {' or '.join(self.references)}")
        data = read_json(path, f"references of {self.title} in COCO's layout")
        rows = list(_karpathy(data, path) if isinstance(data, list) else _coco(data, path))
        pictures = PicturePaths(self.data, [self.data / folder for folder in self.picture_folders])
        bare = [name for name, _, references in rows if not references]
        if bare:
            raise TuwenError(f"{path}: image {bare[0]} has no caption{and_others(bare)}")
        found = by_id(
            (
                (str(path), name, Captioned(name, pictures.find(written), tuple(references)))
                for name, written, references in rows
            ),
            "image",
        )
        if not found:
            raise TuwenError(f"{path}: no pictures")
        return found

    def items(self) -> Sequence[Item]:
        """One for each picture."""
        image = Image("") if self.style == "qwen" else Image()
        return [
            Item(
                id=one.id,
                messages=(Message.of("user", image, PROMPTS[self.style]),),
                images=(one.picture,),
                reference=one.references,
                cluster=one.id,
                tokens=30 if self.style == "qwen" else 64,
                answer=one.references[0],
            )
            for one in self.captioned.values()
        ]

    def parse(self, item: Item, answer: str) -> str | None:
        """The caption as it is compared; None where no word is in it."""
        return ptb.tokenise([answer])[0] or None

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read a list of image_id and caption, which the COCO caption program takes."""
        found = []
        for path in prediction_paths(files, [(RESULTS, OWN_FILE)]):
            own = own_predictions(path)
            found += own if own is not None else _results(path)
        return found

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write the form that the COCO caption program takes."""
        require_known((one.id for one in predictions), self.captioned, self.name)
        rows = ({"image_id": official_id(one.id), "caption": text_of(one)} for one in predictions)
        return [write_records(out / RESULTS, rows)]

    def _score(self, tokenise: Tokenise, predictions: Sequence[Prediction]) -> Score:
        """Of the pictures that have a caption; the program stops at a second one."""
        require_known((one.id for one in predictions), self.captioned, self.name)
        given: dict[str, str] = {}
        for prediction in predictions:
            if prediction.id in given and not self.partial:
                raise TuwenError(
                    f"{self.name}: image {prediction.id} has several captions: the COCO caption program takes one"
                )
            given[prediction.id] = text_of(prediction)
        if not given:
            raise TuwenError(f"{self.name}: no predictions to score")
        asked = [one for one in self.captioned.values() if one.id in given]
        known = iter(tokenise([caption for one in asked for caption in one.references]))
        references = [[next(known) for _ in one.references] for one in asked]
        made = tokenise([given[one.id] for one in asked])
        found = caption_scores(made, references, [one.id for one in asked])
        return Score(
            scores=found.total,
            per_item={one.id: scores for one, scores in zip(asked, found.each, strict=True)},
            parsed={
                one.id: Parsed(value=caption or None, credit=min(1.0, scores["CIDEr"] / MOST))
                for one, caption, scores in zip(asked, made, found.each, strict=True)
            },
            headline={
                "CIDEr": 100 * found.total["CIDEr"],
                "BLEU-4": 100 * found.total["Bleu_4"],
                "ROUGE-L": 100 * found.total["ROUGE_L"],
            },
        )


Row = tuple[str, str, list[str]]


def _coco(data: Any, path: Path) -> Iterable[Row]:
    """Pictures and captions under ``images`` and ``annotations``."""
    captions: dict[str, list[str]] = {}
    for number, record in enumerate(listed(data, "annotations", path), start=1):
        where = f"{path}: annotation {number}"
        captions.setdefault(str(value(record, "image_id", where=where)), []).append(text(record, "caption", where))
    for number, record in enumerate(listed(data, "images", path), start=1):
        where = f"{path}: image {number}"
        name = str(value(record, "id", where=where))
        written = value(record, "image", "file_name", where=where)
        yield name, _path(written, where), captions.get(name, [])


def _karpathy(data: list[Any], path: Path) -> Iterable[Row]:
    """BLIP's files of Karpathy's splits: lists of pictures, whose names end in COCO's number, and their captions."""
    for number, record in enumerate(data, start=1):
        where = f"{path}: record {number}"
        if not isinstance(record, dict):
            raise TuwenError(f"{where}: expected image and caption, found {type(record).__name__}")
        written = _path(value(record, "image", where=where), where)
        captions = value(record, "caption", where=where)
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise TuwenError(f"{where}: caption: expected a list of texts, found {json.dumps(captions):.40}")
        digits = re.search(r"([0-9]{1,20})$", PurePosixPath(written).stem)
        if digits is None:
            raise TuwenError(f"{where}: image: expected a name that ends in COCO's number, found {written!r:.60}")
        yield str(int(digits[1])), written, captions


def _path(written: Any, where: str) -> str:
    if not isinstance(written, str) or not written:
        raise TuwenError(f"{where}: image: expected a path, found {json.dumps(written):.40}")
    return written


def _results(path: Path) -> list[Prediction]:
    return [
        Prediction(str(value(record, "image_id", where=where)), value(record, "caption", where=where))
        for where, record in numbered(path)
    ]
