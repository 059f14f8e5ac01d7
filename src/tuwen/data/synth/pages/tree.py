"""Trees of HTML elements, written out as people write them."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

# Elements without an end tag.
VOID = frozenset(("hr", "input"))
# Shorter elements whose children are texts and short elements stay on one line.
ONE_LINE = 96
INDENT = "  "


@dataclass(slots=True)
class Node:
    """An element.

    Attributes:
        tag: its name.
        children: texts and elements, in order.
        attributes: name → value; an empty value writes the name alone.
    """

    tag: str
    children: list[Node | str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What it says by itself: its own texts, or what its field holds or hints at."""
        own = "".join(child for child in self.children if isinstance(child, str)).strip()
        return own or self.attributes.get("value", "") or self.attributes.get("placeholder", "")

    def walk(self) -> Iterator[Node]:
        """The elements below it, in document order."""
        for child in self.children:
            if isinstance(child, Node):
                yield child
                yield from child.walk()


def node(tag: str, *children: Node | str, **attributes: str) -> Node:
    """An element; an underscore in an attribute's name stands for a dash, one at its end for nothing."""
    return Node(tag, list(children), {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})


def write_node(element: Node, depth: int = 0) -> str:
    """The element's HTML, indented."""
    line = _one_line(element)
    if line is not None and len(line) + len(INDENT) * depth <= ONE_LINE:
        return INDENT * depth + line
    inner = "\n".join(
        write_node(child, depth + 1) if isinstance(child, Node) else INDENT * (depth + 1) + html.escape(child)
        for child in element.children
    )
    return f"{INDENT * depth}{_start(element)}\n{inner}\n{INDENT * depth}</{element.tag}>"


def write_page(body: Node, style: Mapping[str, str], language: str) -> str:
    """A document.

    Args:
        body: its body.
        style: selector → declarations.
        language: code of its language.
    """
    rules = "\n".join(f"{selector} {{ {declarations} }}" for selector, declarations in style.items())
    return f'<!DOCTYPE html>\n<html lang="{language}">\n<style>\n{rules}\n</style>\n{write_node(body)}\n</html>'


def _start(element: Node) -> str:
    attributes = "".join(
        f' {name}="{html.escape(value)}"' if value else f" {name}" for name, value in element.attributes.items()
    )
    return f"<{element.tag}{attributes}>"


def _one_line(element: Node) -> str | None:
    """The element in one line; None where it holds elements that hold elements."""
    if element.tag in VOID:
        return _start(element)
    pieces = []
    for child in element.children:
        if isinstance(child, str):
            pieces.append(html.escape(child))
        elif any(isinstance(inner, Node) for inner in child.children) or element.tag in ("body", "ul", "form"):
            return None
        else:
            pieces.append(_one_line(child) or "")
    return f"{_start(element)}{''.join(pieces)}</{element.tag}>"
