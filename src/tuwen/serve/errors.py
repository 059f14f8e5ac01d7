"""Every refusal in the form of OpenAI's API, and nothing in it that a client should not see."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from tuwen.config import TuwenError

ErrorType = Literal[
    "invalid_request_error", "authentication_error", "not_found_error", "rate_limit_error", "server_error"
]
LONGEST_MESSAGE = 500
INTERNAL = "The server met an error while it worked on this request."
# An address in memory, and a file's path: neither is a client's business, whoever wrote the message.
_PRIVATE = re.compile(r"0x[0-9a-fA-F]{3,}|(?<![\w:/.])(?:[A-Za-z]:\\|~?/)[\w.@+-]+(?:[/\\][\w.@+-]*)+")
# What parameters of OpenAI's API that are taken with a neutral value alone would ask for.
_NOT_SUPPORTED = {
    "tools": "tools are not supported",
    "tool_choice": "tools are not supported",
    "tool_calls": "tools are not supported",
    "function_call": "tools are not supported",
    "audio": "sound is not supported",
    "modalities": "answers are text",
    "store": "nothing is stored",
    "metadata": "nothing is stored",
    "service_tier": "there is one tier, 'auto'",
    "skip_special_tokens": "control tokens are never part of an answer",
    "include_obfuscation": "streams are not padded",
    "detail": "the model's image policy alone says how pictures are seen; leave it out, or give 'auto'",
    "name": "names of participants are not shown to the model",
}


class ErrorDetail(BaseModel):
    """What is inside ``error``."""

    message: str
    type: ErrorType
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: ErrorDetail


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        message: one line for the client.
        code: a word for programs, also the label under which refusals are counted.
        param: the parameter at fault, e.g. ``messages[0].content[1].image_url.url``.
        retry_after: seconds after which to try again, for 429 and 503.
    """

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.message = scrub(message)
        self.headers: dict[str, str] = {}
        if retry_after is not None:
            self.headers["retry-after"] = str(max(1, round(retry_after)))
        if status == 401:
            self.headers["www-authenticate"] = "Bearer"

    def body(self) -> dict[str, Any]:
        """``ErrorBody`` as JSON."""
        detail = ErrorDetail(message=self.message, type=_type_of(self.status), param=self.param, code=self.code)
        return ErrorBody(error=detail).model_dump()


def _type_of(status: int) -> ErrorType:
    special: dict[int, ErrorType] = {
        401: "authentication_error",
        404: "not_found_error",
        429: "rate_limit_error",
    }
    return special.get(status, "server_error" if status >= 500 else "invalid_request_error")


def scrub(message: str) -> str:
    """``message`` in one line of bounded length, without paths and addresses."""
    return _PRIVATE.sub("…", " ".join(message[: 4 * LONGEST_MESSAGE].split()))[:LONGEST_MESSAGE]


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """A 400."""
    return ApiError(400, message, code, param)


def from_mistake(error: TuwenError, param: str | None = None) -> ApiError:
    """A 400 that says what Tuwen says."""
    return bad_request(str(error), param)


def internal_error() -> ApiError:
    """A 500, of whose cause the server's log alone tells."""
    return ApiError(500, INTERNAL, "internal_error")


def draining(retry_after: float) -> ApiError:
    """A 503 for a request that came after the server was told to stop."""
    return ApiError(503, "The server is shutting down.", "draining", retry_after=retry_after)


def engine_stopped() -> ApiError:
    """A 503 for a server whose engine has died; it must be started again."""
    return ApiError(503, "The engine has stopped.", "engine_stopped", retry_after=60)


def from_validation(problems: Sequence[Any], known: Sequence[str]) -> ApiError:
    """A 400 that names the first parameter at fault.

    Args:
        problems: as `pydantic` lists them.
        known: parameters at the top level, of which the nearest is named for an unknown one.
    """
    first = min(problems, key=_order)
    if first["type"] == "json_invalid":
        return bad_request("The body is not JSON.", code="invalid_json")
    param = parameter_name(first["loc"])
    name = str(first["loc"][-1])[:100]
    if name in _NOT_SUPPORTED:
        return bad_request(f"{param}: {_NOT_SUPPORTED[name]}.", param, "unsupported_parameter")
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, known, n=1) if param == name else []
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return bad_request(f"{param}: not a parameter of this server{hint}", param, "unknown_parameter")
    if first["type"] == "missing":
        return bad_request(f"{param or 'body'}: required, and missing.", param, "missing_required_parameter")
    return bad_request(f"{param or 'body'}: {first['msg']}.", param)


def _order(problem: Any) -> int:
    """A kind that is not known explains what else does not fit, and a misspelt key explains a missing one."""
    if problem["type"] == "literal_error" and problem["loc"][-1] == "type":
        return 0
    return 1 if problem["type"] == "extra_forbidden" else 2


def parameter_name(location: Sequence[int | str]) -> str | None:
    """``("body", "messages", 0, "(parts)", "role")`` as ``messages[0].role``; names of branches are in brackets."""
    name = ""
    for part in location[1:]:
        if isinstance(part, int):
            name += f"[{part}]"
        elif not part.startswith(("(", "[")):
            name += f".{part[:100]}" if name else part[:100]
    return name or None
