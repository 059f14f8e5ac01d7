"""``TuwenModel``: the one model class, vision encoder × connector × language model.

Its form is what `transformers`' generation and vLLM's Transformers backend ask of a multimodal model.

Shape legend: B sequences, L tokens, P tiles of all pictures together, I pictures, N features of a tile,
D width of vision features, T connector tokens of a tile, H width of the language model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForImageTextToText, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, ModelOutput

from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig
from tuwen.models.connectors.base import Connector, build_connector
from tuwen.models.encoders.base import encoder_kind, patch_grid


@dataclass
class TuwenModelOutput(BaseModelOutputWithPast):
    """Output of ``TuwenModel``: the language model's, and what the pictures became.

    Attributes:
        image_hidden_states: connector tokens of all tiles, [P, T, H]; None for text alone.
    """

    image_hidden_states: Tensor | None = None


@dataclass
class TuwenCausalLMOutput(ModelOutput):
    """Output of ``TuwenForConditionalGeneration``.

    Attributes:
        loss: mean cross-entropy of the labelled tokens, where labels were given.
        logits: [B, L, V], or fewer positions with ``logits_to_keep``.
        past_key_values: the cache.
        hidden_states: of the language model, where asked for.
        attentions: of the language model, where asked for.
        image_hidden_states: [P, T, H]; None for text alone.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    image_hidden_states: Tensor | None = None


class TuwenPreTrainedModel(PreTrainedModel):
    """Loading, saving and fresh values for all of a composition."""

    config: TuwenConfig
    config_class = TuwenConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]
    _supports_attention_backend = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The encoder and the language model were given their values by their own classes.
        if isinstance(module, Connector):
            module.reset_parameters()
        elif isinstance(module, nn.Linear) and module is getattr(self, "lm_head", None):
            module.weight.normal_(std=getattr(self.config.text_config, "initializer_range", 0.02))


class TuwenModel(TuwenPreTrainedModel):
    """Vision encoder, connector and language model, without the output head.

    Args:
        config: what to put together; see ``TuwenConfig``.

    Raises:
        TuwenError: when the parts do not fit together.
    """

    def __init__(self, config: TuwenConfig) -> None:
        super().__init__(config)
        config.check()
        self.vision_tower = AutoModel.from_config(config.vision_config)
        text_dim = config.text_config.hidden_size
        self.connector = build_connector(config.connector_config, config.vision_dim, text_dim)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        return cast(nn.Module, self.language_model.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_decoder(self) -> nn.Module:
        """The language model."""
        return cast(nn.Module, self.language_model)

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """The vision encoder, which is the only encoder there is."""
        return cast(nn.Module, self.vision_tower)

    def vision_features(self, pixel_values_P3HW: Tensor) -> Tensor:
        """What the connector gets: pixels [P, 3, H, W] → features [P, N, D] as ``vision_feature`` chooses."""
        feature = self.config.feature
        vision_config = self.config.vision_config
        kind = encoder_kind(vision_config)
        pixels = pixel_values_P3HW.to(self.vision_tower.dtype)
        inputs = kind.inputs(pixels, vision_config)
        states = self.vision_tower(**inputs, output_hidden_states=True, return_dict=True).hidden_states
        chosen = [states[layer] for layer in feature.layers]
        if feature.post_layernorm:
            norm = kind.norm(self.vision_tower)
            chosen = [norm(state) for state in chosen]
        if feature.select == "patch" and (prefix := kind.prefix(vision_config)):
            chosen = [state[:, prefix:] for state in chosen]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=-1)

    def get_image_features(
        self,
        pixel_values: Tensor,
        image_tiles: Tensor | Sequence[int] | None = None,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Pictures as input embeddings of the language model.

        Args:
            pixel_values: tiles of all pictures, [P, 3, height, width].
            image_tiles: tiles of each picture, [I], adding up to P.
            return_dict: there for the protocol; the result always has named fields.
            **kwargs: inputs of the language model that a generic caller passes on; not used.

        Returns:
            ``last_hidden_state`` the vision features [P, N, D]; ``pooler_output`` the embeddings: a list of
            [tiles · T, H], one a picture, or without ``image_tiles`` a tensor [P, T, H].
        """
        features_PND = self.vision_features(pixel_values)
        height, width = pixel_values.shape[-2:]
        grid = patch_grid(self.config.vision_config, height, width, self.config.feature.select)
        tokens_PTH = self.connector(features_PND, grid)
        pooled: Any = tokens_PTH
        if image_tiles is not None:
            counts = image_tiles.tolist() if isinstance(image_tiles, Tensor) else list(image_tiles)
            pooled = [part.flatten(0, 1) for part in tokens_PTH.split(counts)]
        return BaseModelOutputWithPooling(last_hidden_state=features_PND, pooler_output=pooled)

    def embed(self, input_ids_BL: Tensor, image_tokens_PTH: Tensor) -> Tensor:
        """Token embeddings [B, L, H] with the picture tokens written into their places in order.

        Raises:
            TuwenError: when places and picture tokens differ in number; the first such sequence cannot be
                told apart by the model, so the message gives both totals.
        """
        embeddings_BLH = self.get_input_embeddings()(input_ids_BL)
        places_BL = self._image_places(input_ids_BL)
        found, wanted = int(places_BL.sum()), image_tokens_PTH.shape[0] * image_tokens_PTH.shape[1]
        if found != wanted:
            raise TuwenError(
                f"input_ids hold {found} image tokens, but the pictures give {wanted} "
                f"({image_tokens_PTH.shape[0]} tiles of {image_tokens_PTH.shape[1]})"
            )
        flat = image_tokens_PTH.flatten(0, 1).to(embeddings_BLH.dtype)
        return embeddings_BLH.masked_scatter(places_BL.unsqueeze(-1), flat)

    def _image_places(self, input_ids_BL: Tensor) -> Tensor:
        """Where picture tokens go, bool [B, L]."""
        span = self.config.image_span
        if span is None:
            return input_ids_BL == self.config.image_token_id
        starts_BL, ends_BL = input_ids_BL == span["start"], input_ids_BL == span["end"]
        open_BL = starts_BL.cumsum(dim=1) > ends_BL.cumsum(dim=1)
        return open_BL & ~starts_BL

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_tiles: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        image_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> TuwenModelOutput:
        """Hidden states of the language model over text and pictures.

        Args:
            input_ids: token ids [B, L]; each picture stands as its number of image tokens.
            pixel_values: tiles of all pictures in order of appearance, [P, 3, height, width].
            image_tiles: tiles of each picture [I]; the order of tiles alone places them, so it is optional.
            inputs_embeds: embeddings [B, L, H] in place of ``input_ids``, pictures already in them.
            image_embeds: connector tokens [P, T, H] in place of ``pixel_values``, e.g. kept from before.
            **kwargs: of the language model (attention_mask, position_ids, past_key_values, use_cache …).

        Raises:
            TuwenError: when image tokens and picture tokens differ in number.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if pixel_values is not None and image_embeds is None and pixel_values.shape[0]:
            image_embeds = self.get_image_features(pixel_values).pooler_output
        if inputs_embeds is None:
            assert input_ids is not None
            if image_embeds is None:
                inputs_embeds = self.get_input_embeddings()(input_ids)
            else:
                inputs_embeds = self.embed(input_ids, image_embeds)
        kwargs.pop("return_dict", None)
        output = self.language_model(inputs_embeds=inputs_embeds, return_dict=True, **kwargs)
        return TuwenModelOutput(
            last_hidden_state=output.last_hidden_state,
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            image_hidden_states=image_embeds,
        )


class TuwenForConditionalGeneration(TuwenPreTrainedModel, GenerationMixin):
    """The composition with its output head: what is trained, saved, loaded and generated with."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: TuwenConfig) -> None:
        super().__init__(config)
        self.model = TuwenModel(config)
        text_config = config.text_config
        self.lm_head = nn.Linear(text_config.hidden_size, text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The output head."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the output head."""
        self.lm_head = cast(nn.Linear, new_embeddings)

    def get_decoder(self) -> nn.Module:
        """The language model."""
        return self.model.get_decoder()

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """The vision encoder."""
        return self.model.get_encoder(modality)

    def get_image_features(
        self, pixel_values: Tensor, image_tiles: Tensor | Sequence[int] | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """See ``TuwenModel.get_image_features``."""
        return self.model.get_image_features(pixel_values, image_tiles, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_tiles: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        image_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> TuwenCausalLMOutput:
        """Logits over text and pictures, and the loss where labels [B, L] are given (-100: not trained).

        Args:
            input_ids: token ids [B, L].
            pixel_values: as ``TuwenModel.forward`` takes them, like the rest up to ``image_embeds``.
            image_tiles: see there.
            attention_mask: see there.
            position_ids: see there.
            past_key_values: see there.
            inputs_embeds: see there.
            image_embeds: see there.
            labels: the token that stands at each place, as in ``input_ids``; shifted inside.
            logits_to_keep: compute logits for the last so many places, or for these indices; 0 for all.
            **kwargs: see ``TuwenModel.forward``.
        """
        loss_kwargs = {name: kwargs.pop(name) for name in ("num_items_in_batch",) if name in kwargs}
        output = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            image_tiles=image_tiles,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            image_embeds=image_embeds,
            **kwargs,
        )
        places = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, places])
        loss = None
        if labels is not None:
            vocab_size = self.config.text_config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **loss_kwargs)
        return TuwenCausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            image_hidden_states=output.image_hidden_states,
        )

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Inputs of the next step of ``generate``; pictures are encoded with the prompt only.

        Args:
            input_ids: token ids so far [B, L]; those generated alone, where the prompt is given as embeddings.
            inputs_embeds: the prompt's embeddings [B, L, H]; named here because `transformers` looks for the name.
            **kwargs: of ``forward``.
        """
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)
        step = inputs.get("input_ids")
        if step is not None and step.shape[1] == 1:
            for name in ("pixel_values", "image_tiles", "image_embeds"):
                inputs.pop(name, None)
        return inputs


AutoModel.register(TuwenConfig, TuwenModel, exist_ok=True)
AutoModelForImageTextToText.register(TuwenConfig, TuwenForConditionalGeneration, exist_ok=True)
