"""What is too long is shortened as it is said, never in the middle of a picture or a turn, and always told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.chat.messages import Image, Message
from tuwen.checkpoints.folder import load_model
from tuwen.config import TuwenError
from tuwen.data.collator import Collator
from tuwen.data.fitting import fit
from tuwen.data.sample import Sample
from tuwen.models.processing import TuwenImageProcessor, TuwenProcessor
from tuwen.vision import parse_policy


@pytest.fixture(scope="module")
def processor(toy_run: Path) -> TuwenProcessor:
    """Pictures are cut into up to six tiles of 16 tokens."""
    folder = load_model(toy_run / "model")
    policy = parse_policy({"type": "tiles", "size": 64, "max_tiles": 6})
    plain = folder.processor
    return TuwenProcessor.for_model(folder.model.config, policy, plain.tokenizer, plain.chat_template or "")


def single(processor: TuwenProcessor) -> TuwenProcessor:
    """The same with one tile a picture."""
    policy = {**processor.policy.to_dict(), "max_tiles": 1}
    images = TuwenImageProcessor(policy)
    return TuwenProcessor(images, processor.tokenizer, processor.chat_template, tokens_per_tile=16)


def conversation(turns: int, *, pictures: int = 1) -> Sample:
    messages = []
    for turn in range(turns):
        asked = [Image(), f"问题{turn}?"] if turn < pictures else [f"问题{turn}?"]
        messages += [Message.of("user", *asked), Message.of("assistant", f"答案{turn}。")]
    return Sample(id="long", messages=tuple(messages), images=(PIL.Image.new("RGB", (384, 64)),) * pictures)


@given(limit=st.integers(20, 260), turns=st.integers(1, 5), pictures=st.integers(0, 2))
def test_it_fits_or_is_refused_and_keeps_whole_pictures_and_turns(
    limit: int, turns: int, pictures: int, processor: TuwenProcessor
) -> None:
    sample = conversation(turns, pictures=min(pictures, turns))
    first = replace(sample, messages=sample.messages[:2], images=sample.images[:1])
    shortest = len(fit(first, first.images, single(processor), None).rendered.input_ids)
    if shortest > limit:
        with pytest.raises(TuwenError, match="long: it takes"):
            fit(sample, sample.images, processor, limit)
        return
    fitted = fit(sample, sample.images, processor, limit)
    rendered = fitted.rendered
    assert len(rendered.input_ids) <= limit
    assert len(rendered.image_spans) == fitted.pictures
    tiles = fitted.policy.plan(384, 64).tiles
    assert all(stop - start == 16 * tiles for start, stop in rendered.image_spans)
    assert rendered.input_ids.count(processor.image_token_id) == 16 * tiles * fitted.pictures
    assert rendered.labels[-2] >= 0 or rendered.labels[-1] >= 0


def test_tiles_go_before_turns(processor: TuwenProcessor) -> None:
    sample = conversation(2)
    whole = fit(sample, sample.images, processor, None)
    assert whole.change == ""
    length = len(whole.rendered.input_ids)
    assert fit(sample, sample.images, processor, length).change == ""
    fewer = fit(sample, sample.images, processor, length - 1)
    assert fewer.change.endswith("tiles a picture at most")
    # A single tile is left of seven, the thumbnail among them.
    shortest = length - 6 * 16
    assert fit(sample, sample.images, processor, shortest).policy.plan(384, 64).tiles == 1
    assert fit(sample, sample.images, processor, shortest - 1).change == "the last 2 of 4 turns dropped"
    with pytest.raises(TuwenError, match=rf"long: it takes {length} tokens, more than max_length {length - 1}"):
        fit(sample, sample.images, processor, length - 1, "reject")


def test_the_batch_says_what_was_shortened_and_what_was_left_out(processor: TuwenProcessor) -> None:
    long, good = conversation(3), conversation(1, pictures=0)
    unopened = Sample(id="missing", messages=long.messages, images=(Path("nowhere.png"),))
    batch = Collator(processor, max_length=100)([(long,), (good,), (unopened,)])
    assert [(note.sample, note.left_out) for note in batch.notes] == [("long", False), ("missing", True)]
    assert "nowhere.png: cannot be read" in batch.notes[1].reason
    assert batch.samples == 2
    # A batch without any is trained on nothing, so that processes which train together stay in step.
    blank = Collator(processor)([(unopened,)])
    assert (blank.samples, blank.pictures, int((blank.owners >= 0).sum())) == (0, 0, 0)


def test_samples_about_one_picture_are_parted_where_together_they_are_too_long(processor: TuwenProcessor) -> None:
    picture = PIL.Image.new("RGB", (64, 64))
    group = tuple(
        Sample(
            id=str(number),
            messages=(Message.of("user", Image(), "数" * 10), Message.of("assistant", f"{number}" * 9)),
            images=(picture,),
        )
        for number in range(6)
    )
    together = Collator(processor)([group])
    assert together.pictures == 1
    parted = Collator(processor, max_length=70)([group])
    assert parted.pictures > 1
    assert parted.input_ids.shape[1] <= 70
    assert (parted.labels >= 0).sum() == (together.labels >= 0).sum()
    assert not parted.notes
