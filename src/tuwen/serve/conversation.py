"""From the messages of a request to what the engine takes, each limit checked before the work that it bounds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tuwen.chat.messages import Image, Message, Role, Text
from tuwen.config import TuwenError
from tuwen.infer.prompts import EncodedPrompt, NamedPicture
from tuwen.infer.vlm import Chatter
from tuwen.serve.errors import bad_request, from_mistake
from tuwen.serve.fetching import Fetcher
from tuwen.serve.limits import Limits
from tuwen.serve.pictures import WantedPicture, check_counts, sizes_of
from tuwen.serve.protocol import ChatMessage, TextPart
from tuwen.vision.pictures import PictureError

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
NAME = "messages"


class Preparation:
    """Prepares conversations, in a few threads.

    Args:
        chatter: whose pictures and prompts they become.
        limits: of a request.
        fetcher: of pictures from elsewhere; None where that is not allowed.
    """

    def __init__(self, chatter: Chatter, limits: Limits, fetcher: Fetcher | None = None) -> None:
        self._chatter, self._limits, self._fetcher = chatter, limits, fetcher
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="tuwen-pictures")
        # Tokenizers of `transformers` are changed while they pad, so two threads must not use one.
        self._encoding = threading.Lock()

    async def prepare(self, messages: Sequence[ChatMessage]) -> EncodedPrompt:
        """A conversation as the model takes it.

        Raises:
            ApiError: when it is refused, naming the parameter.
        """
        turns, wanted = read_messages(messages, self._limits)
        check_counts(wanted, self._limits)
        fetched = await self._fetched(wanted)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._encoded, turns, wanted, fetched)

    async def _fetched(self, wanted: Sequence[WantedPicture]) -> dict[str, bytes]:
        """What is elsewhere, by its URL; each is fetched once."""
        remote = [picture for picture in wanted if not picture.is_data]
        if remote and self._fetcher is None:
            raise remote[0].refusal("pictures are taken as `data:image/…;base64,…`; this server fetches none")
        room = self._limits.request_bytes - sum(picture.most_bytes for picture in wanted if picture.is_data)
        return await self._fetcher.fetch(remote, self._limits, room) if self._fetcher and remote else {}

    def _encoded(
        self, turns: Sequence[Message], wanted: Sequence[WantedPicture], fetched: dict[str, bytes]
    ) -> EncodedPrompt:
        files = [picture.decoded() if picture.is_data else fetched[picture.url] for picture in wanted]
        sizes = sizes_of(wanted, files, self._limits)
        most = self._limits.prompt_tokens
        count = getattr(self._chatter.processor, "num_image_tokens", None)
        if most is not None and count is not None and sum(count(*size) for size in sizes) > most:
            raise _too_long(sum(count(*size) for size in sizes), most)
        opened = [self._open(picture, file) for picture, file in zip(wanted, files, strict=True)]
        try:
            with self._encoding:
                prompt = self._chatter.encode(turns, opened)
        except TuwenError as error:
            raise from_mistake(error, NAME) from None
        if most is not None and len(prompt.rendered.input_ids) > most:
            raise _too_long(len(prompt.rendered.input_ids), most)
        return prompt

    def _open(self, picture: WantedPicture, file: bytes) -> NamedPicture:
        try:
            return self._chatter.open(file)
        except PictureError as error:
            raise picture.in_words(error, self._limits) from None


def _too_long(tokens: int, most: int) -> Exception:
    return bad_request(
        f"the prompt has at least {tokens:,} tokens; at most {most:,} are taken.", NAME, "prompt_too_long"
    )


def read_messages(messages: Sequence[ChatMessage], limits: Limits) -> tuple[list[Message], list[WantedPicture]]:
    """Turns, and the pictures that they name, in order of appearance.

    Raises:
        ApiError: for more messages or text than are taken.
    """
    if len(messages) > limits.messages:
        raise bad_request(f"{len(messages)} messages; at most {limits.messages} are taken.", NAME, "too_many_messages")
    turns: list[Message] = []
    wanted: list[WantedPicture] = []
    characters = 0
    for number, message in enumerate(messages):
        parts: list[Text | Image] = []
        content = [TextPart(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        for place, part in enumerate(content):
            if isinstance(part, TextPart):
                parts.append(Text(part.text))
                characters += len(part.text)
                continue
            here = f"messages[{number}].content[{place}].image_url"
            if isinstance(part.image_url, str):
                wanted.append(WantedPicture(part.image_url, here))
            else:
                wanted.append(WantedPicture(part.image_url.url, f"{here}.url"))
            parts.append(Image())
        turns.append(Message(_ROLES[message.role], tuple(parts)))
    if characters > limits.characters:
        raise bad_request(
            f"the text has {characters:,} characters; at most {limits.characters:,} are taken.", NAME, "prompt_too_long"
        )
    return turns, wanted
