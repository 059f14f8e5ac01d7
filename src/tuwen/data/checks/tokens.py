"""What the model that is to be trained makes of a sample, by the renderer that trains it."""

from __future__ import annotations

from collections.abc import Iterator

from tuwen.config import TuwenError
from tuwen.data.checks.base import CHECKS, Check, Finding, Reason, Subject


@CHECKS.register("tokens")
class TokensCheck(Check):
    """See the module. Without a processor it finds nothing."""

    reasons = (
        Reason("template_refuses", "error", "the model's chat template refuses it", "模型的对话模板拒绝该样本"),
        Reason("nothing_trained", "error", "no token of it is trained", "没有可训练的词元"),
        Reason("too_long", "error", "more tokens than --max-tokens", "词元数超过上限"),
    )

    def look(self, subject: Subject) -> Iterator[Finding]:
        """Length and trained tokens."""
        processor, sample = self.options.processor, subject.sample
        if processor is None or not sample.messages:
            return
        sizes = [picture.size for picture in subject.pictures if picture.size is not None]
        if len(sizes) != len(sample.images):
            # Its length is not known, and another check has said why.
            return
        lengths = [processor.num_image_tokens(width, height) for width, height in sizes]
        try:
            rendered = processor.renderer.render(sample.messages, lengths, name=sample.id)
        except TuwenError as error:
            yield Finding("template_refuses", str(error))
            return
        if all(label < 0 for label in rendered.labels):
            yield Finding("nothing_trained", "the template marks none of it as an answer")
        count, most = len(rendered.input_ids), self.options.max_tokens
        if most is not None and count > most:
            yield Finding("too_long", f"{count:,} tokens, {sum(lengths):,} of them for pictures; at most {most:,}")
