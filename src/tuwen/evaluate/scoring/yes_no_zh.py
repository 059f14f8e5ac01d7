"""Yes or no in English or Chinese; our own rule, for questions of the user's own."""

from __future__ import annotations

from tuwen.evaluate.scoring.yes_no import READ_AS, vlmevalkit_words

_BEFORE = " \t\n\u3000\"'“‘(（*"
# Looked for in this order at the start of a reply: "不知道" is no answer, and "不是" no "是".
_UNSURE = (
    "不知道",
    "不确定",
    "不清楚",
    "不一定",
    "不能确定",
    "不好说",
    "无法",
    "没法",
    "是否",
    "有没有",
    "是不是",
    "对不起",
)
_NO = ("不", "否", "没", "无", "并非", "并不", "错", "非也")
_YES = ("是", "对", "有", "正确", "当然", "可以", "能", "会", "嗯")


def chinese_or_english(reply: str) -> str | None:
    """``yes`` or ``no``; None where neither is said.

    In English one of the words must stand in the reply and the other must not; in Chinese the reply must begin with it.
    """
    english = READ_AS.get(vlmevalkit_words(reply))
    if english is not None:
        return english
    start = reply.lstrip(_BEFORE)
    if start.startswith("没错"):
        return "yes"
    if start.startswith(_UNSURE):
        return None
    return "no" if start.startswith(_NO) else "yes" if start.startswith(_YES) else None
