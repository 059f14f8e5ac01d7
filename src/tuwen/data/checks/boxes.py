"""Places in pictures: boxes in the text, and regions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuwen.chat.grounding import GRID
from tuwen.data.checks.base import CHECKS, Check, Finding, Reason, Subject, quoted, turn_name

_TAG = re.compile(r"<(/?)(ref|box)(?: [^<>\n]{0,200})?>")
_BOX = re.compile(r"<box>([^<]{0,2000})</box>")
_NUMBER = r" {0,2}(-?[0-9]{1,9}(?:\.[0-9]{1,9})?) {0,2}"
_POINT = rf"\({_NUMBER},{_NUMBER}\)"
# As Qwen-VL writes it, and as InternVL does.
_QWEN = re.compile(rf"{_POINT} ?, ?{_POINT}")
_INTERNVL = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")


@CHECKS.register("boxes")
class BoxesCheck(Check):
    """See the module."""

    reasons = (
        Reason("bad_box", "error", "a <box> outside the picture, turned round or unreadable", "文本中的框无效"),
        Reason("unclosed_markup", "error", "<ref> or <box> is not closed, or not opened", "定位标记未闭合"),
        Reason("bad_region", "error", "a region outside the picture or turned round", "区域框无效"),
    )

    def look(self, subject: Subject) -> Iterator[Finding]:
        """Every turn, then the regions."""
        sample = subject.sample
        for number, message, text in subject.turns():
            if "ref>" not in text and "box>" not in text:
                continue
            here = turn_name(number, message.role)
            if wrong := unbalanced(text):
                yield Finding("unclosed_markup", f"{here}: {wrong}")
            for found in _BOX.finditer(text):
                if wrong := wrong_box(found[1]):
                    yield Finding("bad_box", f"{here}: {quoted(found[0])}: {wrong}")
                    break
        for region in sample.regions:
            left, top, right, bottom = region.box
            if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
                yield Finding("bad_region", f"{list(region.box)} of {quoted(region.text, 24)}")
            elif not 0 <= region.image < max(1, len(sample.images)):
                pictures = f"picture {region.image} of {len(sample.images)}"
                yield Finding("bad_region", f"{quoted(region.text, 24)} is in {pictures}")


def unbalanced(text: str) -> str:
    """The first tag of ``<ref>`` and ``<box>`` without its other half; empty where there is none."""
    opened = ""
    for tag in _TAG.finditer(text):
        closes, name = tag[1] == "/", tag[2]
        if closes and opened != name:
            return f"{tag[0]} closes nothing"
        if not closes and opened:
            return f"<{opened}> is not closed before {tag[0]}"
        opened = "" if closes else name
    return f"<{opened}> is not closed" if opened else ""


def wrong_box(content: str) -> str:
    """What is wrong with what stands in a ``<box>``; empty where nothing is."""
    qwen = _QWEN.fullmatch(content.strip())
    boxes = [qwen.groups()] if qwen else [found.groups() for found in _INTERNVL.finditer(content)]
    if not boxes:
        return "neither (x,y),(x,y) nor [[x,y,x,y]]"
    # The cells of Qwen-VL's grid are counted from 0; InternVL's numbers reach the grid's far side.
    most = GRID - 1 if qwen else GRID
    for numbers in boxes:
        left, top, right, bottom = (float(number) for number in numbers)
        if min(left, top, right, bottom) < 0 or max(left, top, right, bottom) > most:
            return f"numbers go from 0 to {most}"
        if left > right or top > bottom:
            return "left and top come first"
    return ""
