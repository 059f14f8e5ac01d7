"""``TuwenConfig``: vision encoder × connector × language model, as stored in a model folder."""

from __future__ import annotations

import difflib
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

# They make themselves known to the auto classes of `transformers`.
import tuwen.models.encoders.conv_vit
import tuwen.models.encoders.qwen_vit
import tuwen.models.language.qwen1  # noqa: F401
from tuwen.config import TuwenError, parse_config
from tuwen.models.connectors.base import ConnectorConfig, parse_connector
from tuwen.models.encoders.base import encoder_kind, patch_grid
from tuwen.models.recipe import VisionFeature
from tuwen.vision.grid import Grid, PatchGrid


class TuwenConfig(PretrainedConfig):
    """Configuration of any composition.

    Args:
        vision_config: of a `transformers` vision encoder, or a mapping with its ``model_type``.
        text_config: of a `transformers` causal language model, or a mapping with its ``model_type``.
        connector_config: ``{"type": NAME, …settings}``, see ``tuwen.models.connectors``.
        vision_feature: see ``tuwen.models.recipe.VisionFeature``.
        image_token_id: the token whose places are filled with picture features.
        image_span: ``{"start": ID, "end": ID}`` where all places between these two tokens are filled in place of
            those of ``image_token_id``, whatever tokens they hold (Qwen-VL writes the picture's path there).
        tie_word_embeddings: whether the output head shares the language model's input embeddings; as in
            ``text_config`` unless said.

    Raises:
        TuwenError: when a part is unknown or the parts do not fit together.
    """

    model_type = "tuwen"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}

    def __init__(
        self,
        *,
        vision_config: PretrainedConfig | dict[str, Any] | None = None,
        text_config: PretrainedConfig | dict[str, Any] | None = None,
        connector_config: dict[str, Any] | None = None,
        vision_feature: dict[str, Any] | None = None,
        image_token_id: int = 0,
        image_span: dict[str, int] | None = None,
        tie_word_embeddings: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.vision_config = _sub_config(vision_config, "vision_config", "clip_vision_model")
        self.text_config = _sub_config(text_config, "text_config", "qwen2")
        self.connector_config = dict(connector_config or {"type": "mlp"})
        self.vision_feature = dict(vision_feature or {})
        self.image_token_id = image_token_id
        self.image_span = dict(image_span) if image_span else None
        if tie_word_embeddings is None:
            tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)

    @property
    def feature(self) -> VisionFeature:
        """``vision_feature``, checked."""
        return parse_config(VisionFeature, self.vision_feature, "vision_feature")

    @property
    def connector(self) -> ConnectorConfig:
        """``connector_config``, checked."""
        return parse_connector(self.connector_config)

    @property
    def vision_dim(self) -> int:
        """D: width of the features that reach the connector."""
        return int(self.vision_config.hidden_size) * len(self.feature.layers)

    def patch_grid(self, grid: Grid) -> PatchGrid:
        """The features that one tile of ``grid`` gives."""
        return patch_grid(self.vision_config, grid.height, grid.width, self.feature.select)

    def num_image_tokens(self, grid: Grid) -> int:
        """Tokens that a picture takes up in the language model; needs no weights and no pixels."""
        return grid.tiles * self.connector.num_tokens(self.patch_grid(grid))

    def check(self) -> None:
        """Look at every part, so that what does not fit is said before any weight is made.

        Raises:
            TuwenError: naming the part.
        """
        encoder_kind(self.vision_config)
        states = int(self.vision_config.num_hidden_layers) + 1
        for layer in self.feature.layers:
            if not -states <= layer < states:
                raise TuwenError(
                    f"vision_feature.layers: {layer} is outside the {states} hidden states of "
                    f"{self.vision_config.model_type} (choose {-states} to {states - 1})"
                )
        _ = self.connector
        if self.image_span is not None and set(self.image_span) != {"start", "end"}:
            raise TuwenError(f"image_span: expected the token ids start and end, found {self.image_span}")


def _sub_config(values: PretrainedConfig | dict[str, Any] | None, key: str, default: str) -> PretrainedConfig:
    if isinstance(values, PretrainedConfig):
        return values
    settings = dict(values or {})
    return config_of(settings.pop("model_type", default), settings, key)


def config_of(model_type: Any, settings: dict[str, Any], where: str) -> PretrainedConfig:
    """A `transformers` configuration.

    Args:
        model_type: its name there.
        settings: its values.
        where: to name in a message.

    Raises:
        TuwenError: for a name that is not known, with the nearest that are, and for a value that is refused.
    """
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        near = difflib.get_close_matches(str(model_type), CONFIG_MAPPING.keys(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "expected one of transformers', such as qwen2"
        raise TuwenError(f"{where}.model_type: {model_type!r:.80} is not known; {hint}")
    try:
        return AutoConfig.for_model(model_type, **settings)
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise TuwenError(f"{where}: {error}") from None


AutoConfig.register("tuwen", TuwenConfig, exist_ok=True)
