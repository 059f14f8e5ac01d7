"""Strict typed configuration, registries, and the error that users see."""

from tuwen.config.errors import MissingExtraError, TuwenError, first_line
from tuwen.config.registry import Registry, unknown_name
from tuwen.config.strict import StrictConfig, apply_overrides, parse_config, read_yaml, to_yaml

__all__ = [
    "MissingExtraError",
    "Registry",
    "StrictConfig",
    "TuwenError",
    "apply_overrides",
    "first_line",
    "parse_config",
    "read_yaml",
    "to_yaml",
    "unknown_name",
]
