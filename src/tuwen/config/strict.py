"""Typed configuration with no silent keys, and YAML in and out."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tuwen.config.errors import TuwenError
from tuwen.config.registry import unknown_name


class StrictConfig(BaseModel):
    """Base of every configuration: frozen, and a key it does not declare is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ConfigType = TypeVar("ConfigType", bound=BaseModel)


def parse_config(kind: type[ConfigType], values: Any, where: str) -> ConfigType:
    """``values`` as a ``kind``, or one line on the first thing that is wrong with them.

    Args:
        kind: the pydantic class to build.
        values: a mapping as read from YAML or JSON.
        where: what to call the source in a message, e.g. the file's path.

    Raises:
        TuwenError: naming the source, the dotted key, what was found and what would be right.
    """
    if not isinstance(values, Mapping):
        raise TuwenError(f"{where}: expected keys and values, found {type(values).__name__}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise TuwenError(f"{where}: {_first_problem(kind, error)}") from None


def _first_problem(kind: type[BaseModel], error: ValidationError) -> str:
    # A misspelt key explains a missing one, so it is said first.
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"] if not _is_internal(part)) or "(top level)"
    if first["type"] == "extra_forbidden":
        owner = _config_at(kind, first["loc"][:-1])
        choices = sorted(owner.model_fields) if owner else []
        return f"{key}: {unknown_name('key', str(first['loc'][-1]), choices)}"
    if first["type"] == "missing":
        return f"{key}: this key is required and missing"
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return message if key == "(top level)" else f"{key}: {message}"
    found = first["input"]
    more = len(error.errors()) - 1
    also = f" (and {more} more)" if more else ""
    return f"{key}: {first['msg']}, found {found!r}{also}"


def _is_internal(part: int | str) -> bool:
    """Whether pydantic put this into a location to name a validator or a member of a union, not a key."""
    return isinstance(part, str) and ("[" in part or part[:1].isupper())


def _config_at(kind: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    """The configuration class that sits at ``location`` inside ``kind``, where there is just one."""
    current: Any = kind
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        for candidate in _leaves(current):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                current = candidate
                break
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _leaves(annotation: Any) -> list[Any]:
    if isinstance(annotation, types.GenericAlias | types.UnionType) or typing.get_origin(annotation):
        return [leaf for part in typing.get_args(annotation) for leaf in _leaves(part)]
    return [annotation]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        TuwenError: when the file is missing, is not YAML, or does not hold a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TuwenError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TuwenError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise TuwenError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def to_yaml(config: BaseModel | Mapping[str, Any]) -> str:
    """YAML text that ``read_yaml`` and ``parse_config`` turn back into the same configuration."""
    values = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``values`` with ``a.b.0.c=VALUE`` assignments from the command line made in it.

    Each VALUE is read as YAML, so numbers, booleans and lists keep their type; a number in the dotted
    key picks a list's element.

    Raises:
        TuwenError: for an assignment without ``=``, or one that leads through something that is neither
            a mapping nor a list.
    """
    result = yaml.safe_load(yaml.safe_dump(dict(values)))
    for assignment in overrides:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise TuwenError(f"override {assignment!r}: expected KEY=VALUE, e.g. train.seed=1")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError:
            raise TuwenError(f"override {assignment!r}: the value is not valid YAML") from None
        *path, last = key.split(".")
        owner: Any = result
        for part in path:
            owner = _step(owner, part, assignment)
        if isinstance(owner, list):
            _step(owner, last, assignment)
            owner[int(last)] = value
        else:
            owner[last] = value
    return result


def _step(owner: Any, part: str, assignment: str) -> Any:
    if isinstance(owner, list):
        if not part.isdigit() or int(part) >= len(owner):
            raise TuwenError(f"override {assignment!r}: {part!r} must be an index from 0 to {len(owner) - 1}")
        return owner[int(part)]
    found = owner.setdefault(part, {})
    if not isinstance(found, dict | list):
        raise TuwenError(f"override {assignment!r}: {part!r} holds the value {found!r}, not keys")
    return found
