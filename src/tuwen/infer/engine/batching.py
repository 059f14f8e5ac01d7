"""The engine of Tuwen's own models: many requests in every step (continuous batching, Orca, OSDI 2022).

Shape legend: L places of a step, H width of the language model, R rows that give a token, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tuwen.config import TuwenError
from tuwen.infer.engine.answer import GrowingAnswer
from tuwen.infer.engine.attention import KeyValues, Span, Step, in_order
from tuwen.infer.engine.blocks import BlockPool
from tuwen.infer.engine.interface import Request
from tuwen.infer.engine.paging import cache_blocks, conversation_values, joined, language_states, use_paged
from tuwen.infer.engine.pictures import FeatureCache, encode_pictures, pictures_of
from tuwen.infer.engine.sampling import Samplers, choose
from tuwen.infer.engine.schedule import Conversation, Part, Schedule
from tuwen.infer.engine.settings import EngineSettings
from tuwen.infer.engine.ticket import Follower
from tuwen.infer.engine.worker import WorkerEngine
from tuwen.infer.vlm import VLM
from tuwen.models.processing import Encoded


class BatchingEngine(WorkerEngine[Conversation]):
    """Answers requests side by side; in fp32 greedy answers equal those of ``VLM.generate``.

    Args:
        vlm: whose model answers; its language model attends by blocks until the engine is closed.
        settings: sizes.

    Raises:
        TuwenError: when the model cannot be computed so, or nothing fits in the memory.
    """

    def __init__(self, vlm: VLM, settings: EngineSettings) -> None:
        super().__init__(settings.max_waiting)
        self._vlm, self._model, self._settings = vlm, vlm.model, settings
        self._language = vlm.model.get_decoder()
        self._samplers = Samplers(vlm.model, vlm.processor.tokenizer)
        self._attention_before = use_paged(vlm.model)
        size, made_for = settings.block_tokens, vlm.model.config.text_config.max_position_embeddings
        blocks = cache_blocks(vlm.model, settings, settings.context or made_for)
        self.context = min(settings.context or made_for, blocks * size)
        self._kept = KeyValues(blocks, size)
        self._schedule = Schedule(
            BlockPool(blocks), size,
            most=settings.max_running, budget=settings.step_tokens, sharing=settings.share_prefixes,
        )  # fmt: skip
        self._features = FeatureCache(settings.picture_cache_bytes)
        self._policy = repr(sorted(vlm.processor.policy.to_dict().items(), key=str))
        self._numbers = itertools.count()
        # Pictures that the step which is being planned will encode.
        self._to_encode: dict[bytes, np.ndarray] = {}
        self._thread.start()

    def _prepare(self, request: Request, ticket: Follower) -> tuple[GrowingAnswer, Conversation]:
        prompt = request.prompt
        if not isinstance(prompt, Encoded):
            raise TuwenError(f"{request.name}: its prompt was made for another model")
        room, ids = self._room(request, self.context), prompt.rendered.input_ids
        pictures = pictures_of(prompt, request.salt, self._policy)
        sampler = self._samplers.sampler(request.sampling, len(ids))
        answer = GrowingAnswer(
            request,
            ticket,
            sampler,
            tokenizer=self._vlm.processor.tokenizer,
            ends=self._samplers.ends,
            image_tokens=sum(picture.place.stop - picture.place.start for picture in pictures),
            room=min(room, sampler.longest or room),
        )
        values = conversation_values(self._language, len(ids))
        conversation = Conversation(next(self._numbers), answer, list(ids), pictures, values)
        # Here and not in the engine's thread, which has better things to do.
        if full := len(ids) // self._settings.block_tokens:
            conversation.name(full - 1, self._settings.block_tokens)
        return answer, conversation

    def _step(self) -> bool:
        parts, cancelled = self._plan()
        for one in cancelled:
            self._schedule.leave(one)
            self._finish(one.answer, "cancelled")
        parts = self._with_features(parts)
        if not parts:
            return bool(cancelled or self._running)
        giving = [part.conversation for part in parts if part.gives_token]
        try:
            scores_RV = self._compute(parts)
            for part in parts:
                self._schedule.computed(part)
                self._let_go_of_features(part.conversation)
            choices = choose(scores_RV, [one.answer.sampler for one in giving], [one.tokens for one in giving])
        except Exception as error:
            for part in parts:
                self._fail(part.conversation, error)
            if isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
            return True
        self._counts["steps"] += 1
        for one, choice in zip(giving, choices, strict=True):
            if isinstance(choice, TuwenError):
                self._fail(one, choice)
                continue
            one.tokens.append(choice.token)
            reason = one.answer.add(choice)
            if reason is not None:
                self._schedule.leave(one)
                self._finish(one.answer, reason)
        return True

    def _plan(self) -> tuple[list[Part], list[Conversation]]:
        """What the next step computes, and who has given up."""
        self._to_encode = {}
        schedule = self._schedule
        with self._changed:
            running = [*schedule.running, *schedule.put_off]
            cancelled = [one for one in running if one.answer.ticket.cancelled]
            for one in cancelled:
                schedule.leave(one)
            entries = {job.number: (answer, job) for answer, job in self._waiting}
            parts, admitted = schedule.plan((job for _, job in entries.values()), self._limit)
            for one in admitted:
                self._waiting.remove(entries[one.number])
                self._running.add(one.answer)
        for one in admitted:
            self._counts["prompt_tokens"] += len(one.tokens)
            self._counts["cached_prompt_tokens"] += one.computed
            self._counts["picture_queries"] += len(one.pictures)
            self._counts["picture_hits"] += sum(
                picture.place.stop <= one.computed or picture.digest in self._features for picture in one.pictures
            )
        parts.sort(key=lambda part: in_order(part.count, -(-part.stop // schedule.size)))
        return parts, cancelled

    def _limit(self, one: Conversation, count: int) -> int:
        """Up to the first picture that cannot be encoded in this step any more."""
        for picture in one.pictures:
            start, stop, digest = picture.place
            if stop <= one.computed or start >= one.computed + count:
                continue
            if digest in one.features or digest in self._to_encode:
                continue
            if (found := self._features.get(digest)) is not None:
                one.features[digest] = found
                continue
            tiles = sum(map(len, self._to_encode.values()))
            if tiles and tiles + len(picture.pixels) > self._settings.step_tiles:
                return max(start - one.computed, 0)
            self._to_encode[digest] = picture.pixels
        return count

    def _with_features(self, parts: list[Part]) -> list[Part]:
        """Encode the pictures of a step; a request whose picture fails ends, the others go on."""
        if not self._to_encode:
            return parts
        errors: dict[bytes, Exception] = {}
        try:
            found = encode_pictures(self._model, self._to_encode)
        except Exception:
            found = {}
            for digest, pixels in self._to_encode.items():
                try:
                    found |= encode_pictures(self._model, {digest: pixels})
                except Exception as error:
                    errors[digest] = error
        for digest, features_FH in found.items():
            self._features.put(digest, features_FH)
        left = []
        for part in parts:
            one = part.conversation
            digests = {picture.digest for picture in one.pictures}
            one.features.update({digest: found[digest] for digest in digests & found.keys()})
            fault = next((errors[digest] for digest in digests & errors.keys()), None)
            if fault is None:
                left.append(part)
            else:
                self._fail(one, fault)
        return left

    def _compute(self, parts: Sequence[Part]) -> Tensor:
        """Scores [R, V] of the next token of those parts that give one."""
        device, size = self._model.device, self._schedule.size
        ids: list[int] = []
        spans, last = [], []
        for part in parts:
            one = part.conversation
            ids += one.tokens[one.computed : part.stop]
            spans.append(Span(one.computed, part.count, one.blocks[: -(-part.stop // size)]))
            if part.gives_token:
                last.append(len(ids) - 1)
        step = Step(spans, self._kept, device, joined([dict(part.conversation.values) for part in parts]))
        embeddings_LH = self._model.get_input_embeddings()(torch.tensor(ids, device=device))
        self._place_features(embeddings_LH, parts)
        states_LH = language_states(self._language, embeddings_LH[:, None], step)
        scores_RV: Tensor = self._model.lm_head(states_LH[last])
        return scores_RV

    def _place_features(self, embeddings_LH: Tensor, parts: Sequence[Part]) -> None:
        first = 0
        for part in parts:
            one = part.conversation
            for picture in one.pictures:
                start, stop = max(picture.place.start, one.computed), min(picture.place.stop, part.stop)
                if start < stop:
                    features_FH = one.features[picture.digest]
                    here = first - one.computed
                    embeddings_LH[here + start : here + stop] = features_FH[
                        start - picture.place.start : stop - picture.place.start
                    ]
            first += part.count

    def _let_go_of_features(self, one: Conversation) -> None:
        done = {picture.digest for picture in one.pictures if picture.place.stop <= one.computed}
        open_ = {picture.digest for picture in one.pictures if picture.place.stop > one.computed}
        for digest in done - open_:
            one.features.pop(digest, None)

    def _fail(self, one: Conversation, error: Exception) -> None:
        # Whatever went wrong may stand in its blocks: nobody else may find it, and no number that is none may stay.
        alone = self._schedule.pool.spoil(one.blocks)
        if alone:
            self._kept.clear(alone)
        self._schedule.leave(one)
        self._finish(one.answer, "error", error)

    def _cache_usage(self) -> float:
        pool = self._schedule.pool
        return 1 - pool.available / pool.count

    def _free(self) -> None:
        self._kept = KeyValues(0, 1)
        self._features = FeatureCache(0)
        self._model.set_attn_implementation({"text_config": self._attention_before})
