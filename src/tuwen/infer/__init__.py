"""Loading a model and talking to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuwen.infer.prompts import Answer as Answer
    from tuwen.infer.prompts import Prompt as Prompt
    from tuwen.infer.vlm import VLM as VLM
    from tuwen.infer.vlm import Session as Session
    from tuwen.infer.vlm import load as load

__all__ = ["VLM", "Answer", "Prompt", "Session", "load"]


def __getattr__(name: str) -> Any:
    # Importing the package stays light until something that needs torch is asked for.
    if name in __all__:
        import tuwen.infer.vlm

        return getattr(tuwen.infer.vlm, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
