"""The part of a recipe that says what a model is put together from; read without importing torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tuwen.config import StrictConfig


class VisionFeature(StrictConfig):
    """Which of the vision encoder's features go to the connector.

    Attributes:
        layers: indices of hidden states (0 is the embedding, -1 the last layer); several are concatenated.
        select: ``patch`` leaves out class and register tokens, ``all`` keeps them before the patches.
        post_layernorm: whether each chosen state passes the encoder's own final norm.
    """

    layers: list[int] = Field(default=[-2], min_length=1)
    select: Literal["patch", "all"] = "patch"
    post_layernorm: bool = False


class Part(StrictConfig):
    """Where a vision encoder or a language model comes from: a folder, or a configuration with fresh weights.

    Attributes:
        path: folder of a `transformers` checkpoint, or of any whole model that `tuwen chat` takes.
        config: a `transformers` configuration with its ``model_type``.
        planned: the configuration of what ``path`` is meant to hold, by which a model is planned (`tuwen train --plan`)
            while the folder is not there; nothing is ever trained by it.
    """

    path: Path | None = None
    config: dict[str, Any] | None = None
    planned: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Part:
        if (self.path is None) == (self.config is None):
            raise ValueError("give exactly one of path (a checkpoint folder) and config (fresh weights)")
        if self.planned is not None and self.path is None:
            raise ValueError("planned has no effect with config; remove it, or give a path")
        for key in ("config", "planned"):
            if "model_type" not in (getattr(self, key) or {"model_type": ""}):
                raise ValueError(f"{key}.model_type: this key is required and missing")
        return self


class NewTokenizer(StrictConfig):
    """A byte-level BPE tokenizer trained for this model; hanzi and digits are never merged with others.

    Attributes:
        vocab_size: entries at most, control tokens included.
        files: text files to train on, one text a line; without them the recipe's data is used.
    """

    vocab_size: int = Field(default=2048, ge=300)
    files: list[Path] = []


class TokenizerSource(StrictConfig):
    """Where the tokenizer comes from; the language model's own folder unless said.

    Attributes:
        path: folder of a fast tokenizer.
        train: settings of a new one.
    """

    path: Path | None = None
    train: NewTokenizer | None = None

    @model_validator(mode="after")
    def _one_source(self) -> TokenizerSource:
        if (self.path is None) == (self.train is None):
            raise ValueError("give exactly one of path (a tokenizer's folder) and train (a new tokenizer)")
        return self


class ModelRecipe(StrictConfig):
    """Vision encoder × connector × language model, and how they see pictures and conversations.

    With ``weights`` the same is said of a model that is there as a whole: its tokenizer and all its weights are taken
    from its folder, and the parts say what it must be. How it sees pictures and conversations may be new.

    Attributes:
        vision: the vision encoder.
        connector: ``{"type": NAME, …settings}``.
        language: the causal language model.
        vision_feature: which features the connector gets.
        image_policy: ``{"type": NAME, …settings}``.
        tokenizer: where it comes from; may be left out when ``language.path`` is given.
        template: name of a chat template, e.g. ``chatml``.
        weights: folder of a whole model to start from, such as the one that another recipe has trained: any that
            `tuwen chat` takes. A delta on two folders is put on those of ``language`` and ``vision``.
        seed: of fresh weights.
    """

    vision: Part
    connector: dict[str, Any]
    language: Part
    vision_feature: VisionFeature = VisionFeature()
    image_policy: dict[str, Any]
    tokenizer: TokenizerSource | None = None
    template: str = "chatml"
    weights: Path | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _tokenizer_is_known(self) -> ModelRecipe:
        if self.tokenizer is None and self.language.path is None and self.weights is None:
            raise ValueError("tokenizer: this key is required when the language model has no folder")
        if self.tokenizer is not None and self.weights is not None:
            raise ValueError("tokenizer has no effect with weights, whose folder has its own; remove one of the two")
        return self
