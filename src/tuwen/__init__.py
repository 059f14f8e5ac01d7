"""Tuwen 图文: build, train, measure and serve Chinese/English vision-language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuwen.config.errors import TuwenError

if TYPE_CHECKING:
    from tuwen.infer import VLM, load

__version__ = "0.1.0"
__all__ = ["VLM", "TuwenError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # `import tuwen` stays fast: torch comes with the first thing that needs it.
    if name in ("VLM", "load"):
        import tuwen.infer

        return getattr(tuwen.infer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
