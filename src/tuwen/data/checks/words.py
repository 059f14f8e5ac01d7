"""Text that belongs to prompts and formats and not to a conversation, or is in another language than is said."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuwen.data.checks.base import CHECKS, Check, Finding, Reason, Subject, quoted, turn_name
from tuwen.data.sample import HAN

_STRUCK = re.compile("<s>[^<]{0,300}</s>")
_CONTROL = re.compile(r"<\|[A-Za-z][A-Za-z0-9_ ]{0,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>")
_PLACE = re.compile(r"<image>|<ImageHere>|<img>[^<>\n]{1,300}</img>|<image_[0-9]{1,3}>", re.IGNORECASE)
_WORD = re.compile("[A-Za-z]{2,40}")
# A name or a unit is no sentence in another language.
FEWEST_WORDS = 3


@CHECKS.register("words")
class WordsCheck(Check):
    """See the module."""

    reasons = (
        Reason("control_text", "warning", "text looks like a control token", "文本中出现控制符"),
        Reason("control_text_in_answer", "error", "an answer looks like a control token", "回答中出现控制符"),
        Reason("place_in_text", "error", "a picture's place is left as text", "文本中残留图片占位符"),
        Reason("wrong_language", "warning", "the text is not in the language it is said to be", "语言标注与文本不符"),
    )

    def look(self, subject: Subject) -> Iterator[Finding]:
        """Every turn, then the language of all."""
        for number, message, text in subject.turns():
            if "<" not in text and "INST]" not in text:
                continue
            here = turn_name(number, message.role)
            # <s>struck out</s> is HTML.
            if found := _CONTROL.search(_STRUCK.sub("", text)):
                reason = "control_text_in_answer" if message.role == "assistant" else "control_text"
                yield Finding(reason, f"{here}: {quoted(found[0])}")
            if found := _PLACE.search(text):
                yield Finding("place_in_text", f"{here}: {quoted(found[0])}")
        yield from self._language(subject)

    def _language(self, subject: Subject) -> Iterator[Finding]:
        if subject.sample.language == "zh":
            # An answer in Chinese is enough: many ask in English for it.
            if any(HAN.search(text) for text in subject.texts):
                return
            if sum(len(_WORD.findall(text)) for text in subject.texts) >= FEWEST_WORDS:
                yield Finding("wrong_language", "said to be zh, without a Chinese character")
            return
        # What is read in a picture is in the picture's language, so only questions are judged.
        asked = " ".join(text for _, message, text in subject.turns() if message.role == "user")
        if HAN.search(asked) and not _WORD.search(asked):
            yield Finding("wrong_language", f"said to be en, asked {quoted(asked.strip(), 24)}")
