"""The engine that fits a model."""

from __future__ import annotations

from typing import Any

from tuwen.config import parse_config
from tuwen.infer.engine.batching import BatchingEngine
from tuwen.infer.engine.interface import Engine
from tuwen.infer.engine.one_by_one import OneByOneEngine
from tuwen.infer.engine.settings import EngineSettings
from tuwen.infer.vlm import VLM, Chatter


def open_engine(chatter: Chatter, **settings: Any) -> Engine:
    """An engine that answers with a loaded model: Tuwen's own in batches, those of `transformers` one after another.

    Args:
        chatter: of ``tuwen.load``.
        **settings: see ``EngineSettings``.

    Raises:
        TuwenError: when a setting is wrong, or the model cannot be computed in batches.
    """
    chosen = parse_config(EngineSettings, settings, "engine")
    if isinstance(chatter, VLM) and chosen.batching:
        return BatchingEngine(chatter, chosen)
    return OneByOneEngine(chatter, chosen)
