"""What `tuwen serve` is told, and the ways to serve a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tuwen.config import Registry, StrictConfig
from tuwen.serve.limits import Limits

# Name → a function of ``ServeSettings`` that serves until it is told to stop.
SERVERS = Registry("engine", {"builtin": "tuwen.serve.running", "vllm": "tuwen.serve.by_vllm"})


class ServeSettings(StrictConfig):
    """How a model is served.

    Attributes:
        model: its folder.
        name: by which clients ask for it; the folder's own unless said.
        host: name or address to listen at.
        port: to listen at; 0 for any that is free.
        api_key_file: keys, one a line.
        device: where the weights go.
        dtype: of the weights.
        quantize: of the language model's weights.
        engine: of ``tuwen.infer.engine.settings.EngineSettings``, what differs from it.
        remote_media: hosts from which pictures are fetched.
        origins: web pages that may call from a browser.
        limits: of requests.
    """

    model: Path
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    api_key_file: Path | None = None
    device: str | None = None
    dtype: str | None = None
    quantize: str | None = None
    engine: Mapping[str, float] = {}
    remote_media: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limits: Limits = Limits()

    @property
    def model_name(self) -> str:
        """The name by which clients ask for the model."""
        return self.name or self.model.resolve().name
