"""Who computes how much in the next step: requests being answered first, then prompts in pieces, then new requests.

Every step has a budget of tokens. A request that is being answered takes one; what is left goes to prompts, the oldest
first. A request is let in when there are blocks for all that it has; when blocks run out under the answers, the
youngest request gives its own back and is computed again later, mostly from blocks that nobody has taken meanwhile.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from tuwen.infer.engine.answer import GrowingAnswer
from tuwen.infer.engine.blocks import BlockPool, first_name, next_name
from tuwen.infer.engine.pictures import Picture


@dataclass(slots=True, eq=False)
class Conversation:
    """A request that waits, runs, or was put off.

    Attributes:
        number: in order of arrival.
        answer: so far.
        tokens: of prompt and answer.
        pictures: of the prompt.
        values: what the language model's cache keeps of the prompt, by name.
        names: of the blocks that it begins with, as far as asked for.
        blocks: that hold its keys and values.
        computed: tokens whose keys and values are there.
        features: of pictures of which a part is still to be computed, by digest.
        admitted: whether it ever ran.
    """

    number: int
    answer: GrowingAnswer
    tokens: list[int]
    pictures: Sequence[Picture]
    values: Mapping[str, float]
    names: list[bytes] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    computed: int = 0
    features: dict[bytes, Tensor] = field(default_factory=dict)
    admitted: bool = False

    @property
    def missing(self) -> int:
        """Tokens whose keys and values are not there."""
        return len(self.tokens) - self.computed

    def name(self, place: int, size: int) -> bytes:
        """Of its block at a place, all of whose tokens are known."""
        while len(self.names) <= place:
            start = len(self.names) * size
            before = self.names[-1] if self.names else self._first_name()
            ids = self.tokens[start : start + size]
            self.names.append(next_name(before, ids, start, (picture.place for picture in self.pictures)))
        return self.names[place]

    def _first_name(self) -> bytes:
        return first_name(self.answer.request.salt, repr(sorted(self.values.items())))


@dataclass(frozen=True, slots=True)
class Part:
    """What a step computes of a conversation.

    Attributes:
        conversation: whose.
        count: tokens, from the first that is missing.
    """

    conversation: Conversation
    count: int

    @property
    def stop(self) -> int:
        """Behind the last place."""
        return self.conversation.computed + self.count

    @property
    def gives_token(self) -> bool:
        """Whether the next token follows from it."""
        return self.count == self.conversation.missing


class Schedule:
    """Requests that run, and the blocks that they use.

    Args:
        pool: of blocks.
        size: places of a block.
        most: requests that run at a time.
        budget: tokens of a step.
        sharing: whether blocks are found by their names.
    """

    def __init__(self, pool: BlockPool, size: int, *, most: int, budget: int, sharing: bool = True) -> None:
        self.pool, self.size, self.sharing = pool, size, sharing
        self._most, self._budget = most, budget
        self.running: list[Conversation] = []
        self.put_off: list[Conversation] = []

    def plan(
        self, waiting: Iterator[Conversation], limit: Callable[[Conversation, int], int]
    ) -> tuple[list[Part], list[Conversation]]:
        """The next step.

        Args:
            waiting: new requests, the oldest first; those that are let in are returned.
            limit: how many of so many tokens of a conversation can be computed in this step.

        Returns:
            What is computed, and which of the waiting requests run now.
        """
        parts = [Part(one, 1) for one in list(self.running) if one.missing == 1 and self._has_room(one)]
        parts = [part for part in parts if part.conversation in self.running]
        left = max(self._budget - len(parts), 1)

        def begin(one: Conversation) -> None:
            nonlocal left
            count = limit(one, min(left, one.missing)) if left > 0 else 0
            if count > 0:
                parts.append(Part(one, count))
                left -= count

        for one in [one for one in self.running if one.missing > 1]:
            begin(one)
        admitted: list[Conversation] = []
        for one in self._arriving(waiting):
            if left <= 0 or len(self.running) >= self._most:
                break
            let_in = self._admit(one)
            if let_in is None:
                continue
            if not let_in:
                break
            if one in self.put_off:
                self.put_off.remove(one)
            else:
                admitted.append(one)
            begin(one)
        return parts, admitted

    def computed(self, part: Part) -> None:
        """A part's keys and values are there; full blocks can be found from now on."""
        one = part.conversation
        before, one.computed = one.computed // self.size, part.stop
        if self.sharing:
            for place in range(before, one.computed // self.size):
                self.pool.name(one.blocks[place], one.name(place, self.size))

    def leave(self, one: Conversation) -> None:
        """A conversation needs its blocks no more."""
        if one in self.running:
            self.running.remove(one)
            self._give_back(one)
        elif one in self.put_off:
            self.put_off.remove(one)

    def _arriving(self, waiting: Iterator[Conversation]) -> Iterator[Conversation]:
        yield from list(self.put_off)
        yield from waiting

    def _has_room(self, one: Conversation) -> bool:
        """Make room for the next token; whether the conversation still runs."""
        while one in self.running and len(one.blocks) * self.size < len(one.tokens):
            if block := self.pool.take(1):
                one.blocks += block
            else:
                # It never had blocks for more than what the pool holds, so it is not alone.
                youngest = self.running[-1]
                self.running.pop()
                self._give_back(youngest)
                insort(self.put_off, youngest, key=lambda other: other.number)
        return one in self.running

    def _admit(self, one: Conversation) -> bool | None:
        """Let a conversation in; False where blocks are short, None where it had better wait for another's blocks."""
        shared: list[int] = []
        if self.sharing:
            for place in range((len(one.tokens) - 1) // self.size):
                block = self.pool.share(one.name(place, self.size))
                if block is None:
                    break
                shared.append(block)
            if len(shared) < (len(one.tokens) - 1) // self.size and one.names[len(shared)] in self._coming():
                self.pool.release(shared)
                return None
        needed = -(-len(one.tokens) // self.size) - len(shared)
        # One block for each that runs, or the next step would put somebody off again.
        fresh = self.pool.take(needed) if self.pool.available >= needed + len(self.running) else None
        if fresh is None:
            self.pool.release(shared)
            return False
        one.blocks, one.computed = shared + fresh, len(shared) * self.size
        if not one.admitted:
            one.admitted, one.answer.cached_tokens = True, one.computed
        insort(self.running, one, key=lambda other: other.number)
        return True

    def _coming(self) -> set[bytes]:
        """Names of blocks that running prompts will fill."""
        return {
            name
            for one in self.running
            if one.missing > 1
            for name in one.names[one.computed // self.size : len(one.tokens) // self.size]
        }

    def _give_back(self, one: Conversation) -> None:
        self.pool.release(one.blocks)
        one.blocks, one.computed = [], 0
        one.features.clear()
