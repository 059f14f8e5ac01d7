"""Pictures with captions, as most pre-training corpora have them: a picture and a text under names of all kinds.

Read are, for example, tables with ``image,caption`` or ``url``, ``title`` and so on as their header; lines
``name.jpg#0<TAB>caption`` (Flickr8k, Flickr30k-CNA) and ``caption<TAB>url`` (Conceptual Captions); AI Challenger's
``[{"image_id", "caption": [five texts]}]``; COCO's annotations; the LLaVA-558k list with ``blip_caption``; ``jpg``
and ``txt`` of WebDataset; and Hugging Face data sets with columns such as ``image`` and ``text``. Every caption is a
sample: the prompt is asked, the caption is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tuwen.chat.messages import Image, Message
from tuwen.config import StrictConfig, TuwenError
from tuwen.data.containers.base import Container, Kind, Record
from tuwen.data.containers.coco import CocoAnnotations, has_annotations
from tuwen.data.formats.base import EXTRA, FORMATS, LANGUAGES, Format, Reading, Writing, extra, refusal
from tuwen.data.formats.published import one_turn
from tuwen.data.formats.turns import packs_answers
from tuwen.data.sample import Language, Sample, language_of
from tuwen.data.storage import exists, is_url

PROMPTS: Mapping[Language, str] = {"zh": "描述这张图片。", "en": "Describe the picture."}
# Names of columns in lower case; the first that a record has is taken. The web's addresses come last: what is on the
# web must be downloaded first.
IMAGES = (
    "image", "images", "jpg", "jpeg", "png", "webp", "gif", "bmp", "img", "picture", "image_path", "img_path",
    "image_file", "image_name", "file_name", "filename", "filepath", "file_path", "file", "path", "image_id",
    "图片", "图像", "图片路径", "url", "image_url", "imageurl",
)  # fmt: skip
TEXTS = (
    "caption", "captions", "blip_caption", "text", "texts", "txt", "sentence", "sentences", "comment", "description",
    "alt_text", "alt", "title", "描述", "图片描述", "标题", "文本", "说明",
)  # fmt: skip
# Records with one of these are more than captions.
_OTHERS = {
    "messages", "conversations", "conversation", "query", "question", "questions", "instruction", "answer", "bbox",
}  # fmt: skip
# In tables without a header: a file or its number, with "#0" behind it or not, or an address.
_PICTURE = re.compile(
    r"(?P<name>\S{1,400}\.(?:jpe?g|png|webp|gif|bmp|tiff?)|[0-9]{3,30})(?:#\S{0,20})?|(?P<url>https?://\S{1,4000})",
    re.IGNORECASE,
)


class CaptionOptions(StrictConfig):
    """What is chosen about captions.

    Attributes:
        prompt: what every picture is asked; 描述这张图片。 or Describe the picture., as the caption's language is,
            unless said. Empty for nothing: the picture and its caption alone.
        image: the column with the picture; found by its name unless said.
        text: the column with the caption or a list of them; found by its name unless said.
        suffix: of pictures that are named by a number, in tables without a header.
    """

    prompt: str | None = None
    image: str | None = None
    text: str | None = None
    suffix: str = ".jpg"


@FORMATS.register("caption")
class CaptionFormat(Format):
    """See the module."""

    name: ClassVar[str] = "caption"
    options_class: ClassVar[type[StrictConfig]] = CaptionOptions
    containers: ClassVar[tuple[str, ...]] = ("table", "json", "jsonl", "parquet", "arrow", "tar")
    columns: ClassVar[Mapping[str, Kind]] = {
        "id": "text", "image": "picture", "caption": "text", "prompt": "text", **EXTRA,
    }  # fmt: skip
    options: CaptionOptions

    @classmethod
    def recognises(cls, record: Record) -> bool:
        """A picture and a text, and nothing that is asked."""
        names = {name.lower() for name in record}
        if names & _OTHERS or packs_answers(record):
            return False
        return bool(names & {*IMAGES} and names & {*TEXTS}) or len(_guessed(record)) == 2

    @classmethod
    def own_container(cls, place: str) -> Container | None:
        """COCO's captions."""
        single = place.lower().endswith(".json") and not any(sign in place for sign in "*?")
        if not single or not (is_url(place) or exists(place)):
            return None
        return CocoAnnotations() if has_annotations(place, "caption") else None

    def samples(self, record: Record, where: str, reading: Reading) -> Sequence[Sample | TuwenError]:
        """One sample for each caption."""
        guessed = _guessed(record)
        image = self._named(record, guessed, "image", where)
        texts = self._named(record, guessed, "text", where)
        if guessed and (match := _PICTURE.fullmatch(str(image))) and match["name"]:
            record = {**record, "id": image}
            image = match["name"] + (self.options.suffix if match["name"].isdigit() else "")
        if not isinstance(texts, list):
            return [self._sample(record, texts, image, f"{where}: caption", reading)]
        name = reading.id_of(record) or where
        found: list[Sample | TuwenError] = []
        for number, text in enumerate(texts):
            own = {**record, "id": f"{name}#{number}"}
            try:
                found.append(self._sample(own, text, image, f"{where}: caption {number}", reading))
            except TuwenError as error:
                found.append(error)
        return found

    def _named(self, record: Record, guessed: Mapping[str, str], what: str, where: str) -> Any:
        """What stands in the column for pictures or texts.

        Raises:
            TuwenError: when there is none.
        """
        chosen = getattr(self.options, what)
        known = {name.lower(): name for name in reversed(record)}
        synonyms = IMAGES if what == "image" else TEXTS
        column = chosen or next((known[name] for name in synonyms if name in known), guessed.get(what))
        if column is None or column not in record:
            found = ", ".join(map(str, record))[:120]
            missing = f"no column {chosen}" if chosen else f"no column is known to hold the {what}"
            raise TuwenError(f"{where}: {missing} among {found}; say which with the option {what}")
        return record[column]

    def _sample(self, record: Record, text: Any, image: Any, where: str, reading: Reading) -> Sample:
        if not isinstance(text, str) or not text.strip():
            raise TuwenError(f"{where}: expected a text, found {text!r:.60}")
        answer = Message.of("assistant", text)
        prompt = record.get("prompt") or self._prompt(record, answer, reading.language)
        if isinstance(image, list) and len(image) == 1:
            image = image[0]
        messages = [Message.of("user", Image(), *([str(prompt)] if prompt else [])), answer]
        return reading.sample(record, where, messages, [reading.image(image, where)])

    def _prompt(self, record: Record, answer: Message, language: Language | None) -> str:
        """What is asked where the record does not say it."""
        said = record.get("language")
        spoken = said if said in LANGUAGES else language or language_of([answer])
        return PROMPTS[spoken] if self.options.prompt is None else self.options.prompt

    def record(self, sample: Sample, writing: Writing) -> Record:
        """Picture, caption and, where it is not the usual one, the prompt, with Tuwen's own keys."""
        question, answer = one_turn(sample)
        if not answer.strip():
            raise refusal(sample, "its answer is blank, which is no caption")
        own = extra(sample)
        usual = self._prompt(own, sample.messages[-1], None)
        record: Record = {"id": sample.id, "image": writing.image(sample.images[0]), "caption": answer}
        return {**record, **({} if question == usual else {"prompt": question}), **own}


def _guessed(record: Record) -> dict[str, str]:
    """The columns with the picture and the caption of a table without a header, by what is in them."""
    if not record or not all(name.isdigit() for name in record):
        return {}
    pictures = [name for name, cell in record.items() if isinstance(cell, str) and _PICTURE.fullmatch(cell)]
    texts = [name for name in record if name not in pictures]
    if len(pictures) != 1 or not texts:
        return {}
    return {"image": pictures[0], "text": max(texts, key=lambda name: len(str(record[name])))}
