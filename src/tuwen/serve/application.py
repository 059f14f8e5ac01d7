"""The application: OpenAI's routes over an engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from tuwen import __version__
from tuwen.infer.engine import interface
from tuwen.infer.engine.interface import Ticket
from tuwen.infer.vlm import Chatter
from tuwen.serve.answering import Answering, submit
from tuwen.serve.conversation import Preparation
from tuwen.serve.disconnect import ClientGone, unless_gone
from tuwen.serve.errors import ApiError, ErrorBody, draining, engine_stopped, from_validation
from tuwen.serve.fetching import Fetcher
from tuwen.serve.guard import Gate, Guard
from tuwen.serve.limits import Limits
from tuwen.serve.metrics import CONTENT_TYPE, Metrics
from tuwen.serve.protocol import ChatCompletion, ChatRequest, Health, ModelCard, ModelList, Version
from tuwen.serve.sampling import read_sampling
from tuwen.serve.streaming import EventStream
from tuwen.serve.tokens import TokenNames

# What nobody receives; the number is nginx's for a client that closed the connection.
CLIENT_GONE = 499
_WORDS = {
    400: "the body cannot be read.",
    404: "there is no such page; see /openapi.json for those that there are.",
    405: "this page does not take that method.",
}
_CODES = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "A parameter is wrong or not supported; `param` names it.",
        401: "No API key, or one that is not known.",
        404: "No such model.",
        408: "The body did not come in time.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        421: "The Host header names another server.",
        429: "Too many requests; see Retry-After.",
        500: "The server met an error.",
        503: "The server is shutting down or its engine has died; see Retry-After.",
    }.items()
}
_STREAM = {"text/event-stream": {"schema": {"type": "string", "description": "Chunks, and `[DONE]`."}}}


@dataclass(slots=True, kw_only=True)
class Service:
    """All that the routes need.

    Attributes:
        engine: answers.
        chatter: makes prompts of conversations.
        model: the name by which clients ask for the model.
        gate: who may come in.
        limits: of requests.
        metrics: figures.
        fetcher: of pictures from elsewhere; None where that is not allowed.
    """

    engine: interface.Engine
    chatter: Chatter
    model: str
    gate: Gate
    limits: Limits
    metrics: Metrics
    fetcher: Fetcher | None = None


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document of the API, without the refusal that FastAPI would give and this server does not."""
        document = super().openapi()
        for page in document["paths"].values():
            for operation in page.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document


def create_application(service: Service, origins: Sequence[str] = ()) -> FastAPI:
    """The application, ready to be run.

    Args:
        service: what is behind it.
        origins: web pages that may call it from a browser; none unless said.
    """
    # Pages with documentation to click through would be loaded from elsewhere.
    app = _Application(
        title="Tuwen", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        description="OpenAI-compatible server of a vision-language model.",
    )  # fmt: skip
    _Routes(service).add_to(app)
    _add_refusals(app, service.gate)
    app.add_middleware(Guard, gate=service.gate)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )  # fmt: skip
    return app


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = int(time.time())
        self._names = TokenNames(service.chatter.processor.tokenizer)
        self._vocabulary = len(service.chatter.processor.tokenizer)
        self._preparation = Preparation(service.chatter, service.limits, service.fetcher)

    def add_to(self, app: FastAPI) -> None:
        few: dict[int | str, dict[str, Any]] = {status: _REFUSALS[status] for status in (401, 421)}
        stopped: dict[int | str, dict[str, Any]] = {503: _REFUSALS[503]}
        app.get("/health", responses=stopped, summary="Whether the engine can answer")(self.health)
        app.get("/ready", responses=stopped, summary="Whether new requests are taken")(self.ready)
        app.get("/version", responses=few)(self.version)
        app.get("/metrics", responses={**few, 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
                response_class=Response)(self.metrics)  # fmt: skip
        app.get("/v1/models", responses=few)(self.models)
        app.get("/v1/models/{model:path}", responses={**few, 404: _REFUSALS[404]})(self.model)
        app.post(
            "/v1/chat/completions", response_model=ChatCompletion, summary="Answer a conversation",
            responses={**_REFUSALS, 200: {"content": _STREAM}},
        )(self.chat)  # fmt: skip

    async def health(self) -> Health:
        """200 while the engine lives."""
        if not self._service.engine.status().alive:
            raise engine_stopped()
        return Health(status="ok")

    async def ready(self) -> Health:
        """200 while new requests are taken."""
        if self._service.gate.draining:
            raise draining(self._service.limits.shutdown_seconds)
        return await self.health()

    async def version(self) -> Version:
        """Tuwen's version."""
        return Version(version=__version__)

    async def metrics(self) -> Response:
        """Figures for Prometheus."""
        return Response(self._service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def models(self) -> ModelList:
        """The one model that is served."""
        return ModelList(data=[self._card()])

    async def model(self, model: str) -> ModelCard:
        """The model of this name."""
        self._check_model(model)
        return self._card()

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """Answer a conversation with pictures in any of its turns."""
        arrival = time.perf_counter()
        service, limits = self._service, self._service.limits
        self._check_model(body.model)
        sampling = read_sampling(body, limits, self._vocabulary)
        try:
            tickets = await unless_gone(request.receive, self._submitted(body, sampling, request.state.salt))
        except ClientGone:
            service.metrics.left(len(sampling))
            return Response(status_code=CLIENT_GONE)
        answering = Answering(
            tickets=tickets,
            model=service.model,
            names=self._names,
            wants_logprobs=bool(body.logprobs),
            metrics=service.metrics,
            arrival=arrival,
            retry_after=limits.shutdown_seconds,
        )
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            return EventStream(answering.events(usage), limits, answering.give_up)
        try:
            answer = await unless_gone(request.receive, answering.whole())
        except ClientGone:
            return Response(status_code=CLIENT_GONE)
        finally:
            answering.give_up()
        return Response(answer.model_dump_json(), media_type="application/json")

    async def _submitted(self, body: ChatRequest, sampling: Sequence[interface.Sampling], salt: bytes) -> list[Ticket]:
        prompt = await self._preparation.prepare(body.messages)
        requests = [interface.Request(prompt=prompt, sampling=one, salt=salt, name="messages") for one in sampling]
        return await submit(self._service.engine, requests, self._service.limits.shutdown_seconds)

    def _card(self) -> ModelCard:
        return ModelCard(id=self._service.model, created=self._started)

    def _check_model(self, name: str) -> None:
        if name != self._service.model:
            message = f"The model {name[:100]!r} is not here; {self._service.model!r} is."
            raise ApiError(404, message, "model_not_found", "model")


def _add_refusals(app: FastAPI, gate: Gate) -> None:
    """Every way in which a request can fail ends in OpenAI's shape."""
    known = [field.alias or name for name, field in ChatRequest.model_fields.items()]

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return gate.refusal(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return gate.refusal(from_validation(error.errors(), known))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status = error.status_code
        words = f"{request.method}: {_WORDS.get(status, 'not possible.')}"
        found = ApiError(status, words, _CODES.get(status, "invalid_request"))
        found.headers.update(error.headers or {})
        return gate.refusal(found)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
