"""What is trained on, written once to disk in LLaVA's JSON with its pictures, for all contenders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from packing import LONGEST, PICTURE_TOKENS, llava_mix

from training.models import Size, planned
from tuwen.chat.messages import Image, Message, Text
from tuwen.data.sample import Sample
from tuwen.data.source import Mixture, parse_sources
from tuwen.models.processing import TuwenProcessor

SCENES = [{"type": "synth", "size": 128, "suites": {"shapes": 0.6, "faces": 0.2, "words": 0.2}}]
# Each is one token, so that texts have as many as the mix wants.
HANZI = [chr(0x4E00 + number) for number in range(700)]
# Of a conversation's text; about what the mix's data sets come to. A pair of the mix has so many tokens.
ANSWERS, PAIR, MOST_PAIRS = 0.4, 40, 30
# Of the mix's 665 thousand samples 364 are about COCO's pictures, of which there are 118; 625 have a picture.
COCO_SAMPLES, COCO_PICTURES, PICTURED = 364, 118, 625
# As COCO's are.
PICTURE_SIZE = (640, 480)
Records = list[dict[str, Any]]


class Corpus:
    """A folder with ``data.json``, ``pictures/``, ``tokenizer/`` and ``lengths.json``.

    Args:
        place: the folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data, self.pictures = place / "data.json", place / "pictures"
        self.tokenizer, self._lengths = place / "tokenizer", place / "lengths.json"

    @classmethod
    def write(cls, place: Path, kind: str, size: Size, samples: int) -> Corpus:
        """Make one.

        Args:
            place: an empty folder.
            kind: ``mix``, ``mix-shared`` or ``scenes``.
            size: of the model that it is for; says how many tokens a picture has.
            samples: how many.
        """
        corpus = cls(place)
        corpus.pictures.mkdir(parents=True)
        scenes = parse_sources(SCENES)
        texts = scenes.texts(0, 4000) if kind == "scenes" else HANZI
        _, processor = planned(size.model, texts)
        processor.tokenizer.save_pretrained(corpus.tokenizer)
        records = KINDS[kind](corpus, processor, scenes, samples)
        corpus.data.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
        found = [(len(_render(record, processor)), "image" in record) for record in records]
        corpus._lengths.write_text(json.dumps(found), encoding="utf-8")
        return corpus

    def model(self, size: Size) -> dict[str, Any]:
        """The model of a recipe, with the tokenizer that was made for it."""
        return {**size.model, "tokenizer": {"path": str(self.tokenizer)}}

    def records(self) -> Records:
        """What LLaVA's file lists."""
        found: Records = json.loads(self.data.read_text(encoding="utf-8"))
        return found

    def lengths(self) -> list[tuple[int, bool]]:
        """Tokens of each sample, and whether it has a picture."""
        return [tuple(pair) for pair in json.loads(self._lengths.read_text(encoding="utf-8"))]


def messages_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Turns in `transformers`' form; a picture is first in its turn."""
    turns = []
    for turn in record["conversations"]:
        parts = [{"type": "image"}] if "<image>" in turn["value"] else []
        parts.append({"type": "text", "text": turn["value"].removeprefix("<image>\n")})
        turns.append({"role": "user" if turn["from"] == "human" else "assistant", "content": parts})
    return turns


def sample_of(record: dict[str, Any]) -> Sample:
    """A record in Tuwen's form, its picture a file's name."""
    messages = []
    for turn in messages_of(record):
        parts = [Image() if part["type"] == "image" else Text(part["text"]) for part in turn["content"]]
        messages.append(Message(turn["role"], tuple(parts)))
    images = (Path(record["image"]),) if "image" in record else ()
    return Sample(id=record["id"], messages=tuple(messages), images=images)


def _render(record: dict[str, Any], processor: TuwenProcessor) -> list[int]:
    sample = sample_of(record)
    return processor.renderer.render(sample.messages, [processor.tokens_per_tile] * len(sample.images)).input_ids


def _mix(corpus: Corpus, processor: TuwenProcessor, scenes: Mixture, samples: int, *, shared: bool = False) -> Records:
    """Lengths as in LLaVA's mix, all of them in the proportion of a picture's tokens here to those there."""
    scale = processor.tokens_per_tile / PICTURE_TOKENS
    lengths, pictured = llava_mix(samples)
    rng = np.random.default_rng(1)
    coco = pictured & (rng.random(samples) < COCO_SAMPLES / PICTURED) & shared
    few = max(1, round(coco.sum() * COCO_PICTURES / COCO_SAMPLES))
    drawn = _pictures(scenes)
    known: dict[int, str] = {}
    records = []

    @cache
    def least(pairs: int, picture: bool) -> int:
        record = _record("", ["一"] * 2 * pairs, "picture" if picture else None)
        return len(_render(record, processor)) - processor.tokens_per_tile * picture

    for number, (length, picture, is_coco) in enumerate(zip(lengths, pictured, coco, strict=True)):
        text = round((min(int(length), LONGEST) - PICTURE_TOKENS * picture) * scale)
        pairs = int(np.clip(round(text / max(PAIR * scale, 8)), 1, MOST_PAIRS))
        more = max(0, text - least(pairs, bool(picture)))
        asked, answered = (
            rng.multinomial(count, [1 / pairs] * pairs) + 1
            for count in (more - round(more * ANSWERS), round(more * ANSWERS))
        )
        turns = ["".join(rng.choice(HANZI, count)) for pair in zip(asked, answered, strict=True) for count in pair]
        name = None
        if picture:
            key = int(rng.integers(few)) if is_coco else few + number
            if key not in known:
                known[key] = f"{len(known)}.jpg"
                next(drawn).resize(PICTURE_SIZE).save(corpus.pictures / known[key], quality=90)
            name = known[key]
        records.append(_record(str(number), turns, name))
    return records


def _mix_shared(corpus: Corpus, processor: TuwenProcessor, scenes: Mixture, samples: int) -> Records:
    """The same, COCO's pictures being those of several samples, as they are in the mix."""
    return _mix(corpus, processor, scenes, samples, shared=True)


def _pictures(scenes: Mixture) -> Iterator[Any]:
    number = 0
    while True:
        yield scenes.group(0, number)[0].images[0]
        number += 1


def _record(identifier: str, turns: list[str], picture: str | None) -> dict[str, Any]:
    values = [f"<image>\n{turns[0]}", *turns[1:]] if picture else turns
    conversation = [{"from": ("human", "gpt")[place % 2], "value": value} for place, value in enumerate(values)]
    return {"id": identifier, **({"image": picture} if picture else {}), "conversations": conversation}


def _scenes(corpus: Corpus, processor: TuwenProcessor, scenes: Mixture, samples: int) -> Records:
    """Drawn pictures with many questions each, every question a sample of its own."""

    def asked() -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            group = [sample for sample in scenes.group(0, number) if sample.images]
            if group:
                group[0].images[0].save(corpus.pictures / f"{number}.png")
            for place, sample in enumerate(group):
                turns = [message.text for message in sample.messages]
                yield _record(f"{number}-{place}", turns, f"{number}.png")
            number += 1

    return list(islice(asked(), samples))


KINDS: dict[str, Callable[[Corpus, TuwenProcessor, Mixture, int], Records]] = {
    "mix": _mix,
    "mix-shared": _mix_shared,
    "scenes": _scenes,
}
