"""Exact-name registries: one for each kind of component.

A built-in component lives in a module of its own, and the registry is told only the names of
those modules, so that listing the choices imports nothing. A package outside Tuwen adds one with the
same decorator, or through an entry point in the group ``tuwen.<kind>`` (blanks as underscores) whose name is the
component's.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from tuwen.config.errors import TuwenError

ComponentType = TypeVar("ComponentType")


class Registry:
    """Names of one kind of component, and what they stand for.

    Args:
        kind: singular noun used in messages and in the entry point group, e.g. ``"connector"``.
        builtin: component name → dotted module that registers it when imported.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._modules = dict(builtin or {})
        self._components: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[ComponentType], ComponentType]:
        """Decorator that files a class or function under ``name``.

        Raises:
            TuwenError: when another component already has the name.
        """

        def decorate(component: ComponentType) -> ComponentType:
            known = self._components.get(name)
            if known is not None and known is not component:
                raise TuwenError(f"{self.kind} {name!r} is already registered by {known!r}")
            self._components[name] = component
            return component

        return decorate

    def names(self) -> list[str]:
        """All names that ``get`` takes, sorted; imports no component."""
        return sorted({*self._components, *self._modules, *self._entry_points()})

    def get(self, name: str) -> Any:
        """The component called ``name``, imported on first use.

        Raises:
            TuwenError: when no component has exactly this name; the message lists the choices.
        """
        if name not in self._components:
            if name in self._modules:
                importlib.import_module(self._modules[name])
            elif name in (found := self._entry_points()):
                self._components[name] = found[name].load()
        if name not in self._components:
            raise TuwenError(unknown_name(self.kind, name, self.names()))
        return self._components[name]

    def _entry_points(self) -> Mapping[str, EntryPoint]:
        return _installed("tuwen." + self.kind.replace(" ", "_"), tuple(sys.path))


@cache
def _installed(group: str, places: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """A group's entry points by name. To look into every installed package takes longer than a whole listing otherwise.

    Args:
        group: of entry points.
        places: where packages are looked for, by which the answer is known again.
    """
    return {point.name: point for point in entry_points(group=group)}


def unknown_name(kind: str, name: str, choices: list[str]) -> str:
    """One line saying that ``name`` is not among ``choices``, with the nearest of them."""
    near = difflib.get_close_matches(str(name), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}: choose one of {', '.join(choices)}{hint}"
