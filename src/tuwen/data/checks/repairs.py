"""What can be put right without guessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tuwen.chat.messages import Message, Part, Text
from tuwen.data.checks.encoding import CONTROL, mojibake_in
from tuwen.data.sample import Sample, count_places, plain_parts

# Behind it stand numbers that say how a terminal writes; without it they would be words.
_ESCAPE = "\x1b"


def cut_unanswered(sample: Sample) -> Sample:
    """Without the turns behind the last answer, which nothing is learnt from, and without their pictures."""
    stop = max((place for place, message in enumerate(sample.messages, 1) if message.role == "assistant"), default=0)
    if not stop or stop == len(sample.messages):
        return sample
    kept = sample.messages[:stop]
    pictures = count_places(kept)
    regions = tuple(region for region in sample.regions if region.image < pictures)
    return replace(sample, messages=kept, images=sample.images[:pictures], regions=regions)


def without_control_characters(sample: Sample) -> Sample:
    """Without characters that nobody sees; where they are what is left of other ones, nothing is changed."""
    if any(_ESCAPE in message.text or mojibake_in(message.text) for message in sample.messages):
        return sample
    messages = tuple(Message(turn.role, plain_parts(_cleaned(part) for part in turn.parts)) for turn in sample.messages)
    rejected = sample.rejected if sample.rejected is None else CONTROL.sub("", sample.rejected) or None
    return replace(sample, messages=messages, rejected=rejected)


def _cleaned(part: Part) -> Part:
    return Text(CONTROL.sub("", part.text)) if isinstance(part, Text) else part


# Faults, what puts them right, and what is said of it.
REPAIRS: dict[str, tuple[Callable[[Sample], Sample], str]] = {
    "unanswered": (cut_unanswered, "turns behind the last answer cut off"),
    "control_character": (without_control_characters, "control characters taken out"),
}
NEW_ID = "new id in the place of another sample's"


def repair(sample: Sample) -> tuple[Sample, list[str]]:
    """A sample without the faults of ``REPAIRS``, as far as they can be put right, and what was done."""
    done = []
    for mend, said in REPAIRS.values():
        changed = mend(sample)
        if changed != sample:
            sample = changed
            done.append(said)
    return sample, done
