"""What the assistant says: nothing, half of it, that it sees no picture, or that it will not say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from tuwen.data.checks.base import CHECKS, Check, Finding, Reason, Subject, quoted, turn_name

_SEES = r"(?:see|view|access|open|process|analy[sz]e|interpret|look at)"
_PICTURES = r"(?:(?:the|this|that|your|any|an?)[ ](?:\w{1,20}[ ])?)?(?:images|image|pictures|picture|photos|photo)"
# "I cannot see the picture of a dog", "… the image clearly" speak of what is in it.
_NOT_OF_IT = r"(?![ ]?(?:['’]s|of|in|on|at|with|from|clearly|well|\w{1,20}ly)\b)"
_KIND = r"(?:AI|artificial intelligence|large language model|language model|text[- ]based)"
_UNABLE = r"(?:can(?:no|['’])t|can not|unable to|not able to|do(?:n['’]t| not) have|not capable)"
_REFUSALS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bas an? {_KIND}\b.{{0,80}}?\b{_UNABLE}\b.{{0,60}}?\b(?:see|view|access|image|picture|photo|visual)",
        rf"\b(?:I|I['’]m|I am|am) (?:sorry,? )?(?:but )?(?:I )?(?:can(?:no|['’])t|unable to|not able to) (?:directly )?"
        rf"{_SEES} {_PICTURES}\b{_NOT_OF_IT}",
        r"\b(?:no|n['’]t see an|not see an|without an?|haven['’]t \w{1,20} an)y? ?(?:image|picture|photo) "
        r"(?:was |has been |is |to be )?(?:attached|provided|uploaded|included|shared)\b",
        r"作为(?:一个|一名)?(?:AI|人工智能|大型?语言|语言|文本)[^。!！?？\n]{0,24}?(?:无法|不能|不具备|没有能力|没有办法)"
        r"[^。!！?？\n]{0,16}?(?:看|图|照片|视觉)",
        r"我(?:目前|暂时|现在)?(?:无法|不能|没法|没有办法)(?:直接)?(?:查看|看到|浏览|访问|打开|处理|分析|识别)"
        r"(?:您|你|这|该|任何|这张|您的|你的|这个|上传的|提供的){0,3}(?:图片|图像|照片)(?![中里上内的])",
        r"(?:您|你)(?:没有|未|并未|还没有?)(?:上传|提供|附上|发送)(?:任何)?(?:图片|图像|照片)",
    )
)
# How refusals begin. "我不能再吃了" may well stand in a picture, so what cannot be done counts too; what is not seen,
# which a good answer may say, is in a group.
_DECLINES = re.compile(
    r"(?:i['’]m |i am )?(?:very |so )?sorry,? (?:but )?i(?:['’]m| am)? ?(?:can['’]t|cannot|unable|not able|won['’]t)"
    r"(?:(?: to)? (access|see|view)\b)?"
    r"|(?:unfortunately,? )?i(?:['’]m| am)? ?(?:can['’]t|cannot|unable to|not able to|won['’]t|must decline to) "
    r"(?:(access|see|view)|analy[sz]e|assist|comply|describe|discuss|do|fulfill?|help|identify|process|provide)\b"
    r"|as an ai\b"
    r"|(?:非常|很|十分)?(?:抱歉|对不起)[^。!！]{0,16}(?:无法|不能|没法|不便|不支持)(查看|识别|看|辨认)?"
    r"|我(?:无法|不能|没法|不便|没有办法)[^。!！]{0,10}(?:(查看|识别|看到|辨认)|描述|提供|帮|处理|回答|协助|满足|分析|讨论)"
    r"|作为(?:一个|一名)?(?:ai|人工智能|大?语言模型)",
    re.IGNORECASE,
)
LONGEST_REFUSAL = 300
# One of these is in every refusal to look, and in few other answers.
_DENIAL = re.compile("n['’]t|not|unable|no |without|无法|不能|不具备|没|未", re.IGNORECASE)
# A refusal stands at the beginning; the middle of a long answer may well tell of one.
LOOKED_AT = 400
_FENCE = re.compile(r"^ {0,3}```", re.MULTILINE)


@CHECKS.register("answers")
class AnswersCheck(Check):
    """See the module."""

    reasons = (
        Reason("empty_answer", "error", "the assistant says nothing", "回答为空"),
        Reason("blank_answer", "error", "the assistant says only blanks", "回答只有空白"),
        Reason("cut_off_answer", "warning", "an answer ends inside a block of code", "回答在代码块中断掉"),
        Reason("blind_answer", "warning", "an answer says that no picture can be seen", "回答自称看不到图片"),
        Reason("refused_answer", "warning", "an answer about a picture that only refuses", "回答拒绝作答"),
        Reason("same_rejected", "error", "the rejected answer is the same as the better one", "较差回答与较好回答相同"),
    )

    def look(self, subject: Subject) -> Iterator[Finding]:
        """Every turn of the assistant, and what the last one is better than."""
        for number, message, text in subject.turns():
            if message.role != "assistant":
                continue
            here = turn_name(number, message.role)
            if not text:
                yield Finding("empty_answer", here)
            elif not text.strip():
                yield Finding("blank_answer", f"{here}: {quoted(text)}")
            elif "```" in text and len(_FENCE.findall(text)) % 2:
                yield Finding("cut_off_answer", f"{here}: a ``` is not closed")
            if subject.pictures and (refusal := refusal_in(text)):
                yield Finding("blind_answer", f"{here}: {quoted(refusal, 80)}")
            elif subject.pictures and declined(text) == "answer":
                yield Finding("refused_answer", f"{here}: {quoted(text, 80)}")
        rejected = subject.sample.rejected
        if rejected is not None and rejected.strip() == subject.sample.answer.strip():
            yield Finding("same_rejected", quoted(rejected, 80))


def refusal_in(text: str) -> str:
    """Words at the beginning of an answer by which a model says that it cannot see pictures; empty without."""
    beginning = text[:LOOKED_AT]
    if not _DENIAL.search(beginning):
        return ""
    for pattern in _REFUSALS:
        if found := pattern.search(beginning):
            return found[0]
    return ""


def declined(text: str) -> Literal["", "look", "answer"]:
    """What a text declines to do that is nothing but a refusal; empty for any other."""
    found = _DECLINES.match(text) if len(text) <= LONGEST_REFUSAL else None
    return "" if found is None else "look" if found.lastindex else "answer"
