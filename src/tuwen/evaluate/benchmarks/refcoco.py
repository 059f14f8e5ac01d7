"""RefCOCO, RefCOCO+ and RefCOCOg: the box of what some words mean.

Yu et al. 2016, "Modeling Context in Referring Expressions"; Mao et al. 2016 for RefCOCOg. Data and rule are
Qwen-VL's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from tuwen.chat.messages import Image, Message
from tuwen.config import TuwenError
from tuwen.data.formats.published import GROUNDING, worded
from tuwen.evaluate.benchmark import BENCHMARKS, Benchmark, Item, Parsed, Prediction, Published, Score
from tuwen.evaluate.benchmarks._picture_paths import PicturePaths
from tuwen.evaluate.benchmarks._replies import read_replies, require_known, text_of
from tuwen.evaluate.figures import count, mean
from tuwen.evaluate.files import prediction_paths, read_json_lines, write_records
from tuwen.evaluate.scoring.boxes import RIGHT_FROM, in_pixels, intersection_over_union, qwen_vl

SPLITS = (
    "refcoco_val",
    "refcoco_testA",
    "refcoco_testB",
    "refcoco+_val",
    "refcoco+_testA",
    "refcoco+_testB",
    "refcocog_val",
    "refcocog_test",
)
FOLDERS = ("images", "train2014")
KINDS: Mapping[str, tuple[type, ...]] = {
    "image": (str,),
    "sent": (str,),
    "bbox": (list,),
    "width": (int, float),
    "height": (int, float),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Referred:
    """What is looked for.

    Attributes:
        id: its line in the file, from 0; behind the split's name where there are several.
        split: one of ``SPLITS``.
        picture: where it lies.
        words: what is meant.
        box: left, top, right, bottom in pixels.
        size: width and height of the picture in pixels.
    """

    id: str
    split: str
    picture: Path
    words: str
    box: tuple[float, float, float, float]
    size: tuple[float, float]


@BENCHMARKS.register("refcoco")
class RefCoco(Benchmark):
    """RefCOCO and its two sisters, as many of their splits as there are."""

    name = "refcoco"
    title = "RefCOCO / RefCOCO+ / RefCOCOg"
    summary = "The box of what some words mean; right when it shares half of the area with the true one (Precision@1)."
    summary_zh = "指代表达定位：预测框与真值 IoU ≥ 0.5 为正确 (Precision@1)。"
    homepage = "https://github.com/lichengunc/refer"
    files = {
        "refcoco_val.jsonl": "lines of image, sent, bbox, width, height (Qwen-VL's); other splits beside it, by name",
        "images": "pictures of COCO train2014",
    }
    picture_folders = (*FOLDERS, *(f"{split.partition('_')[0]}/{folder}" for split in SPLITS for folder in FOLDERS))
    styles = ("qwen", "words")
    published = (
        Published(
            system="Qwen-VL",
            values=dict(zip(SPLITS, (89.36, 92.26, 85.34, 83.12, 88.25, 77.21, 85.58, 85.48), strict=True)),
            source="Qwen-VL README",
        ),
        Published(
            system="Qwen-VL-Chat",
            values=dict(zip(SPLITS, (88.55, 92.27, 84.51, 82.82, 88.59, 76.79, 85.96, 86.32), strict=True)),
            source="Qwen-VL README",
        ),
    )

    @property
    def scorers(self) -> Mapping[str, Callable[[Sequence[Prediction]], Score]]:
        """Qwen-VL's program."""
        return {"qwen_vl": self._qwen_vl}

    @cached_property
    def splits(self) -> list[str]:
        """The splits that are there."""
        return [split for split in SPLITS if self._path(split) is not None]

    def _path(self, split: str) -> Path | None:
        name = f"{split}.jsonl"
        places = (self.data / name, self.data / split.partition("_")[0] / name)
        return next((place for place in places if place.is_file()), None)

    @cached_property
    def referred(self) -> dict[str, Referred]:
        """What is looked for, by id.

        Raises:
            TuwenError: naming the file, line or picture that is missing or wrong.
        """
        found = {}
        for split in self.splits:
            path = self._path(split)
            assert path is not None
            pictures = PicturePaths(
                path.parent, [home / folder for home in (path.parent, self.data) for folder in FOLDERS]
            )
            records = read_json_lines(path, "lines of image, sent, bbox, width, height")
            for number, record in enumerate(records):
                name = str(number) if len(self.splits) == 1 else f"{split}/{number}"
                found[name] = _referred(record, name, split, pictures, f"{path}: line {number + 1}")
        if not found:
            raise TuwenError(f"{self.data}: nothing of RefCOCO; expected {SPLITS[0]}.jsonl or another split")
        return found

    def items(self) -> Sequence[Item]:
        """One for each line."""
        return [
            Item(
                id=one.id,
                messages=(self._asked(one),),
                images=(one.picture,),
                reference=one.box,
                category=one.split if len(self.splits) > 1 else "",
                cluster=one.picture.name,
                tokens=28 if self.style == "qwen" else 64,
                answer=f"{one.words}: {', '.join(f'{side:g}' for side in one.box)}",
            )
            for one in self.referred.values()
        ]

    def _asked(self, one: Referred) -> Message:
        if self.style == "qwen":
            # The reply goes on from here: coordinates and </box>.
            return Message.of("user", Image(""), f"<ref>{one.words}</ref><box>")
        return Message.of("user", Image(), worded(None, GROUNDING, one.words).replace("{phrase}", one.words))

    def parse(self, item: Item, answer: str) -> list[float] | None:
        """The box in pixels."""
        box = qwen_vl(answer)
        return None if box is None else _sides(in_pixels([box], [self.referred[item.id].size])[0])

    def read_predictions(self, files: Sequence[Path]) -> list[Prediction]:
        """Read records of an index and an answer; of several splits, a file's name tells which it is of."""
        rows = (
            [("predictions.json", "predictions.jsonl")]
            if len(self.splits) == 1
            else [*((f"predictions_{split}.json",) for split in self.splits), ("predictions.jsonl",)]
        )
        return [one for path in prediction_paths(files, rows) for one in self._read_file(path)]

    def _read_file(self, path: Path) -> list[Prediction]:
        found = read_replies(path, "index")
        if len(self.splits) < 2 or all("/" in one.id for one in found):
            return found
        split = max((split for split in self.splits if split in path.stem), key=len, default=None)
        if split is None:
            raise TuwenError(f"{path}: expected a split in the file's name, e.g. predictions_{self.splits[0]}.json")
        return [Prediction(f"{split}/{one.id}", one.text) for one in found]

    def write_predictions(self, predictions: Sequence[Prediction], out: Path) -> list[Path]:
        """Write records of an index and an answer, a file for each split."""
        require_known((one.id for one in predictions), self.referred, self.name)
        rows: dict[str, list[dict[str, Any]]] = {}
        for one in predictions:
            split, _, index = one.id.rpartition("/")
            rows.setdefault(split, []).append({"index": int(index), "answer": text_of(one)})
        names = {split: f"predictions_{split}.json" if split else "predictions.json" for split in rows}
        return [write_records(out / names[split], records) for split, records in rows.items()]

    def _qwen_vl(self, predictions: Sequence[Prediction]) -> Score:
        """The program counts what it is given: a line that is missing is not counted, a repeated one twice."""
        require_known((one.id for one in predictions), self.referred, self.name)
        if not predictions:
            raise TuwenError(f"{self.name}: no predictions to score")
        asked = [self.referred[one.id] for one in predictions]
        boxes = [qwen_vl(text_of(one)) for one in predictions]
        pixels = in_pixels(boxes, [one.size for one in asked])
        overlaps = intersection_over_union(pixels, np.asarray([one.box for one in asked], dtype=np.float32))
        right = overlaps >= RIGHT_FROM
        hits = [(one, bool(hit)) for one, hit in zip(asked, right, strict=True)]
        splits = {
            split: _precision([(one.id, hit) for one, hit in hits if one.split == split])
            for split in self.splits
            if any(one.split == split for one in asked)
        }
        total = _precision([(one.id, hit) for one, hit in hits])
        return Score(
            scores=total if len(self.splits) == 1 else {**total, "splits": splits},
            per_item={
                one.id: {
                    "iou": _plain(overlap),
                    "box_xyxy_pixels": [_plain(side) for side in box],
                    "correct": bool(hit),
                }
                for one, overlap, box, hit in zip(asked, overlaps, pixels, right, strict=True)
            },
            parsed={
                one.id: Parsed(value=None if written is None else _sides(box), credit=float(hit))
                for one, written, box, hit in zip(asked, boxes, pixels, right, strict=True)
            },
            headline={split: 100 * score["precision_at_1"] for split, score in splits.items()},
        )


def _precision(hits: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    return {"precision_at_1": mean(hits), "correct": count(hits), "total": len(hits)}


def _plain(value: np.floating[Any]) -> float | str:
    """A number as JSON can hold it."""
    return float(value) if isfinite(value) else str(float(value))


def _sides(box: np.ndarray) -> list[float] | None:
    return [round(float(side), 2) for side in box] if np.isfinite(box).all() else None


def _referred(record: dict[str, Any], name: str, split: str, pictures: PicturePaths, where: str) -> Referred:
    for key, kinds in KINDS.items():
        if not isinstance(record.get(key), kinds):
            raise TuwenError(f"{where}: {key}: this key is required; found {json.dumps(record.get(key)):.40}")
    box, size = record["bbox"], (record["width"], record["height"])
    if len(box) != 4 or not all(isinstance(side, int | float) and isfinite(side) for side in [*box, *size]):
        raise TuwenError(f"{where}: bbox: expected left, top, right and bottom in pixels, found {json.dumps(box):.60}")
    picture = pictures.find(record["image"])
    return Referred(id=name, split=split, picture=picture, words=record["sent"], box=tuple(box), size=size)
