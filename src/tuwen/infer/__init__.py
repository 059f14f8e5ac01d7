"""Loading a model and talking to it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuwen.infer.loading import load as load
    from tuwen.infer.prompts import Answer as Answer
    from tuwen.infer.prompts import Prompt as Prompt
    from tuwen.infer.vlm import VLM as VLM
    from tuwen.infer.vlm import Chatter as Chatter
    from tuwen.infer.vlm import Session as Session

_HOMES = {
    "VLM": "vlm",
    "Answer": "prompts",
    "Chatter": "vlm",
    "Prompt": "prompts",
    "Session": "vlm",
    "load": "loading",
}
__all__ = ["VLM", "Answer", "Chatter", "Prompt", "Session", "load"]


def __getattr__(name: str) -> Any:
    # Importing the package stays light until something that needs torch is asked for.
    if name in _HOMES:
        return getattr(importlib.import_module(f"tuwen.infer.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
