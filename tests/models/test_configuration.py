"""A part of a model that is named wrongly is refused in a line that a person can read."""

from __future__ import annotations

from typing import Any

import pytest

from tuwen.config import TuwenError
from tuwen.models.configuration import TuwenConfig


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"vision_config": {"model_type": "clip_vision_modell"}}, "vision_config.model_type: 'clip_vision_modell' is"),
        ({"text_config": {"model_type": "qwen22"}}, "text_config.model_type: 'qwen22' is not known; did you mean "),
        ({"text_config": {"model_type": "no such thing"}}, "text_config.model_type: 'no such thing' is not known; exp"),
        ({"text_config": {"model_type": ["qwen2"]}}, "text_config.model_type: ['qwen2'] is not known; "),
        ({"text_config": {"hidden_size": "wide"}}, "text_config: Validation error for field 'hidden_size'"),
    ],
)
def test_what_is_wrong_with_a_part_is_said_in_a_line(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(TuwenError) as error:
        TuwenConfig(**parts)
    assert str(error.value).startswith(said)
    assert len(str(error.value)) < 200


def test_the_nearest_names_are_given() -> None:
    with pytest.raises(TuwenError, match=r"did you mean qwen2\b"):
        TuwenConfig(text_config={"model_type": "qwen_2"})
