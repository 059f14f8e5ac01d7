"""The model that is trained, in two sizes, and its twin made of `transformers`' own classes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, SiglipImageProcessor

from tuwen.checkpoints.build import plan_model, plan_processor
from tuwen.config import parse_config
from tuwen.models.configuration import TuwenConfig
from tuwen.models.processing import TuwenProcessor
from tuwen.models.recipe import ModelRecipe
from tuwen.train.policies import ModulePolicy
from tuwen.train.recipe import find_recipe, read_recipe

# Of the model, and before control tokens of the tokenizer.
VOCABULARY, ENTRIES = 1000, 980
# An encoder has a tenth of the language model's parameters here, a twentieth where ViT-L stands before 7 B.
SMALL: dict[str, Any] = {
    "vision": {
        "config": {
            "model_type": "siglip_vision_model",
            "image_size": 128,
            "patch_size": 16,
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "vision_use_head": False,
        }
    },
    "vision_feature": {"layers": [-1]},
    "connector": {"type": "mlp", "depth": 2},
    "language": {
        "config": {
            "model_type": "llama",
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "intermediate_size": 704,
            "vocab_size": VOCABULARY,
            "tie_word_embeddings": True,
        }
    },
    "image_policy": {"type": "square", "size": 128},
    "tokenizer": {"train": {"vocab_size": ENTRIES}},
    "template": "plain",
}
RECIPE_7B = "llava-chinese-clip/finetune"
# In place of the sizes of a 7 B model, to see that its classes and settings work.
DRY_VISION = {"image_size": 112, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
DRY_LANGUAGE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 2000}
DRY_HEADS = {"num_attention_heads": 4}


@dataclass(frozen=True, slots=True)
class Size:
    """A model and how it is trained.

    Attributes:
        model: as a recipe says it.
        modules: how each is trained.
    """

    model: dict[str, Any]
    modules: dict[str, ModulePolicy]

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether layers are computed once more in the backward pass."""
        return any(policy.gradient_checkpointing for policy in self.modules.values())


def find_size(name: str, *, dry_run: bool = False) -> Size:
    """``small``, all of it trained; or ``7b``: Chinese-CLIP-L/336 and Qwen2-7B, trained as their recipe says.

    Args:
        name: one of the two.
        dry_run: whether ``7b`` is made of tiny parts.
    """
    if name == "small":
        full = ModulePolicy(mode="full", learning_rate=1e-3)
        return Size(SMALL, dict.fromkeys(("vision", "connector", "language"), full))
    recipe = read_recipe(find_recipe(RECIPE_7B), [])
    model = recipe.model.model_dump(exclude_none=True)  # type: ignore[union-attr]
    vision, language = model["vision"]["planned"], model["language"]["planned"]
    if dry_run:
        vision = {**vision, **DRY_VISION, **DRY_HEADS}
        language = {**language, **DRY_LANGUAGE, **DRY_HEADS}
        model["image_policy"]["size"] = vision["image_size"]
    model |= {"vision": {"config": vision}, "language": {"config": language}}
    model["tokenizer"] = {"train": {"vocab_size": ENTRIES}}
    return Size(model, dict(recipe.stages[0].modules))


def planned(model: dict[str, Any], texts: Iterable[str] | None = None) -> tuple[TuwenConfig, TuwenProcessor]:
    """Configuration and processor of a recipe's model, without its weights.

    Args:
        model: as a recipe says it.
        texts: what a new tokenizer is trained on.
    """
    recipe = parse_config(ModelRecipe, model, "benchmark")
    config = plan_model(recipe).config
    return config, plan_processor(recipe, config, texts)


def twin(config: TuwenConfig, size: Size) -> Any:
    """The same parts with the same things trained, as `transformers` and `peft` put them together; fresh weights.

    Weights that are not trained are held in bf16, as they are in ours.
    """
    feature = config.feature
    lora = any(policy.mode == "lora" for policy in size.modules.values())
    whole = LlavaConfig(
        vision_config=config.vision_config,
        text_config=config.text_config,
        image_token_index=config.image_token_id,
        vision_feature_layer=feature.layers[0],
        vision_feature_select_strategy=_strategy(config),
        tie_word_embeddings=config.text_config.tie_word_embeddings,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlavaForConditionalGeneration._from_config(whole, dtype=torch.bfloat16 if lora else torch.float32)
    return get_peft_model(model, _adapters(size)) if lora else model


def _adapters(size: Size) -> LoraConfig:
    patterns = []
    for module, tower in (("vision", "vision_tower"), ("language", "language_model")):
        settings = size.modules[module].lora
        assert settings is not None
        assert settings.targets is not None
        patterns.append(rf".*{tower}\..*\.({'|'.join(map(re.escape, settings.targets))})")
    return LoraConfig(
        r=settings.rank,
        lora_alpha=int(settings.alpha),
        lora_dropout=settings.dropout,
        target_modules="|".join(patterns),
        modules_to_save=["multi_modal_projector"],
    )


def _strategy(config: TuwenConfig) -> str:
    """Whether an encoder's class token is left out."""
    return "full" if config.vision_config.model_type == "siglip_vision_model" else "default"


def twin_processor(config: TuwenConfig, processor: TuwenProcessor) -> LlavaProcessor:
    """Tokenizer, template and picture size of ``processor`` behind `transformers`' processor of LLaVA."""
    edge = processor.policy.plan(1, 1).width
    return LlavaProcessor(
        SiglipImageProcessor(size={"height": edge, "width": edge}),
        processor.tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=_strategy(config),
        num_additional_image_tokens=int(_strategy(config) == "default"),
        chat_template=processor.chat_template,
    )
