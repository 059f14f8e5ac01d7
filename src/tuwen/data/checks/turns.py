"""Who speaks when: order of the turns, questions without answer and without words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tuwen.chat.messages import Image, Message
from tuwen.data.checks.base import CHECKS, Check, Finding, Reason, Subject, quoted, turn_name

# Shorter ones ("继续", "and now?") are said again in any conversation.
SHORTEST_REPEATED = 6


@CHECKS.register("turns")
class TurnsCheck(Check):
    """See the module."""

    reasons = (
        Reason("empty_conversation", "error", "there is no turn at all", "没有任何对话"),
        Reason("assistant_first", "error", "the assistant speaks before it is asked", "由助手开头"),
        Reason("unanswered", "error", "the last turn is not the assistant's", "最后一轮不是助手的回答"),
        Reason("system_not_first", "error", "instructions stand in the middle", "系统提示不在开头"),
        Reason("same_role_twice", "warning", "two turns of the same speaker in a row", "同一角色连续两轮"),
        Reason("empty_question", "warning", "a question without text and picture", "空的提问"),
        Reason("repeated_question", "warning", "the same question twice in a conversation", "同一对话内重复提问"),
    )

    def look(self, subject: Subject) -> Iterator[Finding]:
        """Order and emptiness of the turns."""
        messages = subject.sample.messages
        if not messages:
            yield Finding("empty_conversation", "no turn")
            return
        yield from _order(messages)
        asked: dict[str, int] = {}
        for number, message, text in subject.turns():
            if message.role != "user":
                continue
            question = text.strip()
            if any(isinstance(part, Image) for part in message.parts):
                # About another picture the same may be asked again.
                asked.clear()
            elif not question:
                yield Finding("empty_question", turn_name(number, message.role))
            before = asked.setdefault(question, number)
            if before != number and len(question) >= SHORTEST_REPEATED:
                yield Finding("repeated_question", f"turns {before + 1} and {number + 1}: {quoted(question)}")


def _order(messages: Sequence[Message]) -> Iterator[Finding]:
    spoken = [message.role for message in messages if message.role != "system"]
    if spoken[:1] == ["assistant"]:
        yield Finding("assistant_first", quoted(messages[0].text))
    if messages[-1].role != "assistant":
        yield Finding("unanswered", f"{turn_name(len(messages) - 1, messages[-1].role)} is the last")
    for number in range(1, len(messages)):
        role, before = messages[number].role, messages[number - 1].role
        if role == "system":
            yield Finding("system_not_first", turn_name(number, role))
        elif role == before:
            yield Finding("same_role_twice", f"turns {number} and {number + 1} ({role})")
