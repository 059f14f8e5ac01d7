"""An engine for any model that can ``generate``: one request after another.

Shape legend: B sequences (one), L tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from tuwen.config import TuwenError
from tuwen.infer.engine.answer import GrowingAnswer
from tuwen.infer.engine.interface import FinishReason, Request
from tuwen.infer.engine.sampling import Samplers, choose
from tuwen.infer.engine.settings import EngineSettings
from tuwen.infer.engine.ticket import Follower
from tuwen.infer.engine.worker import WorkerEngine
from tuwen.infer.vlm import Chatter


class OneByOneEngine(WorkerEngine[None]):
    """Answers requests in their order; every setting means what it means in batches.

    ``generate`` computes, and follows the folder's rules; which token comes next is chosen as ``BatchingEngine`` does,
    and handed over as the only one that is possible.

    Args:
        chatter: whose model answers.
        settings: sizes; those of keys and values are of no use here.
    """

    def __init__(self, chatter: Chatter, settings: EngineSettings) -> None:
        super().__init__(settings.max_waiting)
        self._chatter = chatter
        self._samplers = Samplers(chatter.model, chatter.processor.tokenizer, by_generate=True)
        config = chatter.model.config
        made_for = getattr(config.get_text_config(), "max_position_embeddings", None)
        context = settings.context or made_for
        if context is None:
            raise TuwenError("engine: context: the model does not say how long a conversation may be; give it")
        self.context: int = context
        token = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
        self._image_token: int | None = token
        self._thread.start()

    def _prepare(self, request: Request, ticket: Follower) -> tuple[GrowingAnswer, None]:
        room, rendered = self._room(request, self.context), request.prompt.rendered
        image_tokens = sum(stop - start for start, stop in rendered.image_spans)
        if not rendered.image_spans and self._image_token is not None:
            image_tokens = rendered.input_ids.count(self._image_token)
        sampler = self._samplers.sampler(request.sampling, len(rendered.input_ids))
        answer = GrowingAnswer(
            request,
            ticket,
            sampler,
            tokenizer=self._chatter.processor.tokenizer,
            ends=self._samplers.ends,
            image_tokens=image_tokens,
            room=min(room, sampler.longest or room),
        )
        return answer, None

    def _step(self) -> bool:
        with self._changed:
            if not self._waiting:
                return False
            answer, _ = self._waiting.popleft()
            self._running.add(answer)
        prompt = answer.request.prompt
        self._counts["prompt_tokens"] += len(prompt.rendered.input_ids)
        course = _Course(self, answer)
        try:
            self._chatter.model.generate(
                **self._chatter._inputs([prompt]),
                **answer.sampler.arguments,
                **({"eos_token_id": None} if answer.request.sampling.ignore_eos else {}),
                max_new_tokens=answer.room,
                logits_processor=[course],
                stopping_criteria=[_Ended(course)],
            )
        except Exception as error:
            self._finish(answer, "error", error)
            return True
        if course.error is not None:
            self._finish(answer, "error", course.error)
        else:
            self._finish(answer, course.reason or "length")
        return True

    def _cache_usage(self) -> float:
        return float(bool(self._running))

    def _free(self) -> None:
        pass


class _Course(LogitsProcessor):  # type: ignore[misc]
    """Chooses an answer's tokens."""

    def __init__(self, engine: OneByOneEngine, answer: GrowingAnswer) -> None:
        self._engine, self._answer = engine, answer
        self.reason: FinishReason | None = None
        self.error: TuwenError | None = None

    @property
    def ended(self) -> bool:
        """Whether no token is wanted any more."""
        return self.reason is not None or self.error is not None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        answer = self._answer
        only: Any = torch.full_like(scores, -torch.inf)
        (choice,) = choose(scores, [answer.sampler], [input_ids[0].tolist()])
        if isinstance(choice, TuwenError):
            self.error = choice
            return only.index_fill(1, torch.zeros(1, dtype=torch.long, device=scores.device), 0.0)
        self._engine._counts["steps"] += 1
        self.reason = answer.add(choice)
        if answer.ticket.cancelled or self._engine._closing:
            self.reason = "cancelled"
        only[:, choice.token] = 0
        return only


class _Ended(StoppingCriteria):  # type: ignore[misc]
    """Stops where the answer has ended."""

    def __init__(self, course: _Course) -> None:
        self._course = course

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self._course.ended, device=input_ids.device)
