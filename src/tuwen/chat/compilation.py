"""Chat templates in Jinja, compiled in a sandbox, with the ``generation`` tag of `transformers`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuwen.chat.marks import TRAINED_BEGIN, TRAINED_END
from tuwen.config import TuwenError


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A chat template that is ready to render.

    Attributes:
        template: the compiled Jinja template.
        has_generation_marks: whether it says which parts are trained.
    """

    template: Template
    has_generation_marks: bool


class GenerationTag(Extension):
    """``{% generation %}…{% endgeneration %}``: what stands between is trained."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body in a scope of its own, between the two marks."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        begin = nodes.Output([nodes.TemplateData(TRAINED_BEGIN)], lineno=line)
        end = nodes.Output([nodes.TemplateData(TRAINED_END)], lineno=line)
        return [begin, nodes.Scope(body, lineno=line), end]


@lru_cache(maxsize=64)
def compile_template(template: str) -> CompiledTemplate:
    """``template``, compiled once.

    Raises:
        TuwenError: for a syntax error, with its line.
    """
    environment = _environment()
    try:
        tree = environment.parse(template)
        marked = any(data.data == TRAINED_BEGIN for data in tree.find_all(nodes.TemplateData))
        return CompiledTemplate(environment.from_string(tree), marked)
    except TemplateSyntaxError as error:
        raise TuwenError(f"chat template, line {error.lineno}: {error.message}") from None


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    # Jinja's own filter escapes for HTML, which is not what a language model should read.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
