"""THE renderer: messages → token ids, labels and the places of pictures, in one pass.

Training, chat, evaluation and serving all call ``Renderer.render``. A Jinja template turns the messages into
text in which everything that came from a user is escaped (see ``marks``); one scan of that text finds the
control tokens that the template wrote, the places of pictures and the trained parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from tuwen.chat.compilation import compile_template
from tuwen.chat.encoding import Place, TextEncoder, text_vocabulary
from tuwen.chat.marks import (
    ESCAPE_PATTERN,
    TRAINED_BEGIN,
    TRAINED_END,
    Escaper,
    longest_first,
    unescape_digits,
)
from tuwen.chat.messages import Image, Message, Part, Role
from tuwen.config import TuwenError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORE_INDEX = -100

_ROLES = frozenset(get_args(Role))
# White space as Unicode and the `tokenizers` library define it; Python adds four ASCII separators.
_BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace() and not 0x1C <= code < 0x20)
_ESCAPE, _MARK = 1, 2


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as the language model takes it.

    Attributes:
        input_ids: token ids, a picture's place holding as many image tokens as it has features, or ids of its own.
        labels: the same ids where they are trained, else ``IGNORE_INDEX``.
        image_spans: (start, stop) of each picture's image tokens in ``input_ids``.
        text: the prompt for people to read, with one image token for each picture.
    """

    input_ids: list[int]
    labels: list[int]
    image_spans: list[tuple[int, int]]
    text: str


class Renderer:
    """Renders conversations with one tokenizer and one template. It takes no note of later changes to either.

    Args:
        tokenizer: a fast tokenizer or one with a ``text_vocabulary``; it is read, never changed.
        template: Jinja text in the form of `transformers`. It gets ``messages`` (content is a string, or a
            list of ``{"type": "text", "text": …}`` and ``{"type": "image"}`` where a message has pictures),
            ``add_generation_prompt``, ``image_token``, the tokenizer's special tokens by their names
            (``bos_token``, ``eos_token``, …), ``raise_exception`` and the variables.
        image_token: written by the template for each picture; a single entry of the vocabulary.
        text_tokens: tokens that text, the user's too, may write, such as ``<ref>`` and ``<box>``; never
            the image token.
        variables: further values for the template; text in them is escaped like a user's.

    Raises:
        TuwenError: for another slow tokenizer, an image or text token that it does not have, a template that does
            not compile.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        template: str,
        image_token: str = "<image>",
        *,
        text_tokens: Sequence[str] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        vocabulary = text_vocabulary(tokenizer)
        ids = {token: vocabulary.token_to_id(token) for token in (image_token, *text_tokens)}
        for token, index in ids.items():
            if not token or index is None:
                raise TuwenError(f"tokenizer: {token!r} is not in its vocabulary; add it as a special token")
        if image_token in text_tokens:
            raise TuwenError(f"text_tokens: {image_token!r} is the image token, which text must not write")
        self._arguments = (tokenizer, template, image_token, tuple(text_tokens), dict(variables or {}))
        self._compiled = compile_template(template)
        added = vocabulary.added
        # Runs of blanks that a tokenizer has added are ways to write text, not control tokens.
        blanks = {content for content, token in added.items() if not token.special and content.isspace()}
        writable = blanks | set(text_tokens)
        control = ({*added} | {image_token}) - writable
        ids |= {content: vocabulary.token_to_id(content) for content in control | writable}
        self._ids = {content: index for content, index in ids.items() if index is not None}
        self._left_strip = frozenset(content for content, token in added.items() if token.lstrip)
        self._right_strip = frozenset(content for content, token in added.items() if token.rstrip)
        marks = f"{ESCAPE_PATTERN}|([{TRAINED_BEGIN}{TRAINED_END}])"
        self._scan = re.compile(f"{marks}|{longest_first(control | writable)}")
        self._escaper = Escaper(control, writable)
        self._encoder = vocabulary.encoder(control | writable)
        self.image_token = image_token
        self.image_token_id = self._ids[image_token]
        special = {
            name: str(token)
            for name, token in tokenizer.special_tokens_map.items()
            if not isinstance(token, list | tuple)
        }
        extra = {name: self._escaper.value(value) for name, value in (variables or {}).items()}
        self._context = {**special, "image_token": image_token, **extra}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> Renderer:
        return self

    @property
    def has_generation_marks(self) -> bool:
        """Whether the template says what is trained; without it all labels are ``IGNORE_INDEX``."""
        return self._compiled.has_generation_marks

    def render(
        self,
        messages: Sequence[Message],
        image_lengths: Sequence[int] = (),
        *,
        image_ids: Sequence[Sequence[int]] | None = None,
        add_generation_prompt: bool = False,
        need_labels: bool = False,
        name: str = "conversation",
        variables: Mapping[str, Any] | None = None,
    ) -> Rendered:
        """A conversation as ids and labels.

        The ids with ``add_generation_prompt`` are a prefix of those with the answer, as far as the template
        writes the same text: a trained part always starts a new token.

        Args:
            messages: the conversation, at least one message.
            image_lengths: image tokens of each picture, in order of appearance.
            image_ids: what stands in each picture's place instead of image tokens, as many ids as ``image_lengths``
                says.
            add_generation_prompt: write what comes before an answer at the end.
            need_labels: something must be trained.
            name: what to call the conversation in a message.
            variables: further values for the template, over those of the renderer.

        Raises:
            TuwenError: naming ``name``, when places and pictures differ in number, when the template refuses
                the conversation, and when ``need_labels`` cannot be met.
        """
        self._check(messages, image_lengths, add_generation_prompt, name)
        if image_ids is not None and [len(ids) for ids in image_ids] != list(image_lengths):
            found = [len(ids) for ids in image_ids]
            raise TuwenError(f"{name}: image_ids: {found} ids for pictures of {list(image_lengths)} image tokens")
        if need_labels and not self.has_generation_marks:
            raise TuwenError(
                f"{name}: the chat template has no {{% generation %}} marks, so nothing would be trained: "
                "put them around the assistant's text and its end"
            )
        context = {**self._context, "add_generation_prompt": add_generation_prompt}
        context |= {key: self._escaper.value(value) for key, value in (variables or {}).items()}
        context["messages"] = [self._as_mapping(message) for message in messages]
        try:
            marked = self._compiled.template.render(context)
        except Exception as error:
            # Any Python error can come out of an expression in somebody else's template.
            raise TuwenError(f"{name}: chat template: {error}") from error
        writer = _Writer(self._encoder, image_lengths, image_ids)
        try:
            shown = self._write(marked, writer)
        except UnicodeEncodeError:
            raise TuwenError(f"{name}: text with half of a surrogate pair, not valid Unicode") from None
        if len(writer.image_spans) != len(image_lengths):
            raise TuwenError(
                f"{name}: the chat template wrote {self.image_token!r} {len(writer.image_spans)} times "
                f"for {len(image_lengths)} pictures"
            )
        if need_labels and all(label == IGNORE_INDEX for label in writer.labels):
            raise TuwenError(f"{name}: nothing to train on: the chat template marks none of it as an answer")
        return Rendered(writer.input_ids, writer.labels, writer.image_spans, shown)

    def _check(self, messages: Sequence[Message], image_lengths: Sequence[int], prompt: bool, name: str) -> None:
        if not messages:
            raise TuwenError(f"{name}: an empty conversation; at least one message is needed")
        for message in messages:
            if message.role not in _ROLES:
                raise TuwenError(f"{name}: role {message.role!r}: choose one of {', '.join(get_args(Role))}")
        if prompt and messages[-1].role == "assistant":
            raise TuwenError(f"{name}: an answer is asked for, but the last message is the assistant's")
        places = sum(isinstance(part, Image) for message in messages for part in message.parts)
        if places != len(image_lengths):
            raise TuwenError(f"{name}: {places} places for pictures, but {len(image_lengths)} pictures")
        if any(length < 1 for length in image_lengths):
            raise TuwenError(f"{name}: {list(image_lengths)} image tokens; each picture needs at least 1")

    def _as_mapping(self, message: Message) -> dict[str, Any]:
        if not any(isinstance(part, Image) for part in message.parts):
            return {"role": message.role, "content": self._escaper.text(message.text)}
        content = [self._part(part) for part in message.parts]
        return {"role": message.role, "content": content}

    def _part(self, part: Part) -> dict[str, str]:
        if isinstance(part, Image):
            label = {} if part.label is None else {"label": self._escaper.text(part.label)}
            return {"type": "image", **label}
        return {"type": "text", "text": self._escaper.text(part.text)}

    def _write(self, marked: str, writer: _Writer) -> str:
        shown: list[str] = []
        position = 0
        for match in self._scan.finditer(marked):
            found, before = match[0], marked[position : match.start()]
            position = match.end()
            shown.append(before)
            writer.text(before)
            if match.lastindex == _ESCAPE:
                found = unescape_digits(match[_ESCAPE])
                writer.text(found)
            elif match.lastindex == _MARK:
                writer.border(found == TRAINED_BEGIN)
                continue
            else:
                writer.strip_end(found in self._left_strip)
                if found == self.image_token:
                    writer.image(self.image_token_id)
                else:
                    writer.token(self._ids[found])
                writer.strip_next = found in self._right_strip
            shown.append(found)
        writer.text(marked[position:])
        writer.flush()
        shown.append(marked[position:])
        return "".join(shown)


class _Writer:
    """Token ids and labels as they grow."""

    __slots__ = (
        "_encoder", "_image_ids", "_lengths", "_pending", "_place", "_trained",
        "image_spans", "input_ids", "labels", "strip_next",
    )  # fmt: skip

    def __init__(
        self, encoder: TextEncoder, image_lengths: Sequence[int], image_ids: Sequence[Sequence[int]] | None = None
    ) -> None:
        self.input_ids: list[int] = []
        self.labels: list[int] = []
        self.image_spans: list[tuple[int, int]] = []
        self.strip_next = False
        self._encoder = encoder
        self._lengths = image_lengths
        self._image_ids = image_ids
        self._pending: list[str] = []
        self._place: Place = "start"
        self._trained = False

    def text(self, text: str) -> None:
        """Text goes on: it is encoded with what stands before and after it."""
        if self.strip_next and text:
            text = text.lstrip(_BLANKS)
            self.strip_next = not text
        if text:
            self._pending.append(text)

    def strip_end(self, strip: bool) -> None:
        """Drop the blanks before a token that asks for it."""
        if strip:
            self._pending = ["".join(self._pending).rstrip(_BLANKS)]

    def border(self, trained: bool) -> None:
        """A trained part begins or ends here, and so does a token."""
        self.flush()
        self.strip_next = False
        self._trained = trained

    def token(self, token_id: int) -> None:
        """A control token."""
        self.flush()
        self._append([token_id], self._trained)
        self._place = "after_token"

    def image(self, token_id: int) -> None:
        """The next picture's place, never trained; beyond the last picture it is only counted."""
        self.flush()
        index = len(self.image_spans)
        length = self._lengths[index] if index < len(self._lengths) else 0
        start = len(self.input_ids)
        own = self._image_ids[index : index + 1] if self._image_ids is not None else []
        self._append(own[0] if own else [token_id] * length, False)
        self.image_spans.append((start, start + length))
        self._place = "after_token"

    def flush(self) -> None:
        """Encode the text that is waiting."""
        if text := "".join(self._pending):
            self._append(self._encoder.encode(text, self._place), self._trained)
            self._pending.clear()
            self._place = "after_text"

    def _append(self, ids: Sequence[int], trained: bool) -> None:
        self.input_ids += ids
        self.labels += ids if trained else [IGNORE_INDEX] * len(ids)


def _rebuild(
    tokenizer: PreTrainedTokenizerFast,
    template: str,
    image_token: str,
    text_tokens: Sequence[str],
    variables: Mapping[str, Any],
) -> Renderer:
    return Renderer(tokenizer, template, image_token, text_tokens=text_tokens, variables=variables)
