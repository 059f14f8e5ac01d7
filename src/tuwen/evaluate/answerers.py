"""Who answers: a model in this process, or one behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuwen.config import TuwenError
from tuwen.data.media import fetch
from tuwen.evaluate.benchmark import Item
from tuwen.evaluate.files import and_others
from tuwen.vision import PictureError, open_picture, picture_size

if TYPE_CHECKING:
    from tuwen.data.endpoint.client import EndpointLimits
    from tuwen.infer import Chatter

ENDPOINT = "openai:"

# An answer: its text, why it ends there, and its tokens.
Given = tuple[str, str, int]
Take = Callable[[list[tuple[Item, Given, float]]], None]


class Answerer(Protocol):
    """Answers items and hands each answer on as soon as it is there."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that answers depend on besides the prompt: model and decoding."""

    def answer(self, items: Sequence[Item], take: Take) -> None:
        """Answer all items in any order; ``take`` is called with items, answers and seconds, some at a time."""


def picture_sizes(items: Sequence[Item]) -> dict[str, list[tuple[int, int]]]:
    """Width and height in pixels of each item's pictures, by their headers.

    Raises:
        TuwenError: naming and counting the items with a picture that is none.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    broken: dict[str, PictureError] = {}
    for item in items:
        try:
            found[item.id] = [picture_size(fetch(image)) for image in item.images]
        except PictureError as error:
            broken[item.id] = error
    if broken:
        first = next(iter(broken))
        raise TuwenError(
            f"{len(broken)} items with unreadable pictures: {first}{and_others([*broken])}: {broken[first]}"
        )
    return found


class LocalAnswerer:
    """A model in this process, greedy, in batches of similar length; answers in fp32 are those given one by one.

    Args:
        name: of the model, as the user gave it.
        vlm: the model.
        batch_size: items at a time.
    """

    def __init__(self, name: str, vlm: Chatter, batch_size: int = 16) -> None:
        self.name, self.vlm, self.batch_size = name, vlm, batch_size

    @property
    def settings(self) -> dict[str, Any]:
        """The model's folder; decoding is always greedy."""
        return {"model": self.name, "decoding": "greedy"}

    def answer(self, items: Sequence[Item], take: Take) -> None:
        """The longest first, so that what does not fit into memory shows at once."""
        from tuwen.infer import Prompt

        sizes = picture_sizes(items)
        for batch in self._batches(sorted(items, key=lambda item: self._length(item, sizes[item.id]), reverse=True)):
            started = time.monotonic()
            prompts = [Prompt(item.messages, item.images) for item in batch]
            try:
                answers = self.vlm.generate(prompts, batch_size=len(batch), greedy=True, max_new_tokens=batch[0].tokens)
            except PictureError as error:
                raise TuwenError(f"item {_broken(batch)}: {error}") from None
            seconds = (time.monotonic() - started) / len(batch)
            take(
                [
                    (item, (answer.text, answer.finish_reason, len(answer.token_ids)), seconds)
                    for item, answer in zip(batch, answers, strict=True)
                ]
            )

    def _length(self, item: Item, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """By the tokens of the answer, which a batch shares, and about those of the prompt."""
        text = sum(len(message.text) for message in item.messages)
        count = getattr(self.vlm.processor, "num_image_tokens", None)
        pictures = sum(count(*size) for size in sizes) if count else 0
        return item.tokens, text + pictures

    def _batches(self, ordered: Sequence[Item]) -> Iterator[list[Item]]:
        batch: list[Item] = []
        for item in ordered:
            if batch and (len(batch) == self.batch_size or item.tokens != batch[0].tokens):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch


def _broken(batch: Sequence[Item]) -> str:
    """The first item of a batch with a picture that cannot be decoded."""
    for item in batch:
        try:
            for image in item.images:
                open_picture(fetch(image))
        except PictureError:
            return item.id
    return batch[0].id


class EndpointAnswerer:
    """A model behind an OpenAI-compatible endpoint; answers that are cut off or refused are kept as they are.

    Args:
        name: as the user gave it: ``openai:URL#MODEL``.
        limits: concurrency, rate, retries, timeout.
        api_key_file: file with the key; ``OPENAI_API_KEY`` unless said.

    Raises:
        TuwenError: for a name of another form.
    """

    def __init__(self, name: str, limits: EndpointLimits, api_key_file: Path | None = None) -> None:
        from tuwen.data.endpoint.client import check_url, read_api_key

        url, mark, model = name.removeprefix(ENDPOINT).partition("#")
        if not mark or not model:
            raise TuwenError(f"{name}: expected openai:URL#MODEL, e.g. openai:http://localhost:8000/v1#qwen2.5-vl-7b")
        self.url, self.model, self.limits = check_url(url), model, limits
        self._key = read_api_key(api_key_file)

    @property
    def settings(self) -> dict[str, Any]:
        """Endpoint and model; the temperature is 0."""
        return {"endpoint": self.url, "model": self.model, "decoding": "temperature 0"}

    def answer(self, items: Sequence[Item], take: Take) -> None:
        """Several at a time."""
        picture_sizes(items)
        asyncio.run(self._answer(items, take))

    async def _answer(self, items: Sequence[Item], take: Take) -> None:
        from tuwen.data.endpoint.client import Endpoint, RequestError, bounded_map
        from tuwen.data.endpoint.picture_messages import endpoint_messages

        async with Endpoint(self.url, self.model, api_key=self._key, limits=self.limits) as endpoint:

            async def ask(item: Item) -> tuple[Given, float]:
                started = time.monotonic()
                try:
                    chat = endpoint_messages(item.messages, item.images)
                    reply = await endpoint.chat(chat, temperature=0, max_tokens=item.tokens)
                except PictureError as error:
                    raise TuwenError(f"item {item.id}: {error}") from None
                except RequestError as error:
                    raise TuwenError(f"{self.url}: item {item.id}: {error}; run again to go on") from None
                given = (reply.text, reply.finish_reason, reply.usage.completion)
                return given, time.monotonic() - started

            async for item, (given, seconds) in bounded_map(
                ask, items, limit=2 * self.limits.concurrency, ordered=False
            ):
                take([(item, given, seconds)])
