"""CodeFuse-VLM's rule: an answer is right when it holds the reference somewhere.

CodeFuse-MFT-VLM, ``llava/eval``. It is no official rule of any benchmark and gives much higher figures: "no" is in
"I do not know", and the longer the answer, the better.
"""

from __future__ import annotations

from collections.abc import Iterable


def shown(reply: str) -> str:
    """A reply as the rule looks at it: in lower case, ChatML's marks and newlines deleted."""
    return reply.replace("<|im_end|>", "").replace("<|im_start|>", "").replace("\n", "").lower()


def holds_any(reply: str, references: Iterable[str]) -> bool:
    """Whether a reply holds one of the references, which are taken as they are."""
    text = shown(reply)
    return any(reference in text for reference in references)
