"""Pictures described by vision-language models, as the meme data of llava-Qwen2-Chinese-CLIP was made by five of them.

Every picture is described by every model. What comes out is data to train on: the question, and a description.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tuwen.chat.messages import Image, Message
from tuwen.config import StrictConfig, TuwenError, parse_config, read_yaml
from tuwen.data.asking.answers import AskingOptions, Question, UnfitError, ask_all
from tuwen.data.asking.run import Job, Report, report
from tuwen.data.asking.translation_checks import written_in
from tuwen.data.checks.answers import declined
from tuwen.data.dataset import open_data, write_data
from tuwen.data.endpoint.client import Chat
from tuwen.data.endpoint.picture_messages import MAX_SIDE, endpoint_messages
from tuwen.data.endpoint.reply import Reply
from tuwen.data.media import fetch, picture_bytes
from tuwen.data.sample import Language, Picture, Sample, language_of
from tuwen.vision.pictures import picture_size

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"}


class CaptionPrompt(StrictConfig):
    """What models are asked, and what the data says was asked.

    Attributes:
        question: the user's turn in the data.
        ask: what models are asked in its place, where more must be said to them than stands in the data.
        system: instructions that come first.
    """

    question: str
    ask: str = ""
    system: str = ""


def read_prompt(file: Path) -> CaptionPrompt:
    """A prompt from a text file, which is the question, or from a YAML file with the keys of ``CaptionPrompt``.

    Raises:
        TuwenError: naming the file and what is wrong with it.
    """
    if file.suffix in (".yaml", ".yml"):
        prompt = parse_config(CaptionPrompt, read_yaml(file), str(file))
    else:
        try:
            prompt = CaptionPrompt(question=file.read_text(encoding="utf-8-sig").strip())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise TuwenError(f"{file}: cannot be read ({reason}); expected a prompt as text or YAML") from None
    if not prompt.question.strip():
        raise TuwenError(f"{file}: the question is empty; expected what the picture is to be described by")
    return prompt


@dataclass(frozen=True, slots=True)
class NamedPicture:
    """A picture and what to call it."""

    name: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class CaptionTask:
    """What holds for every picture.

    Attributes:
        prompt: what is asked.
        max_side: width or height in pixels that is sent at most.
        language: descriptions in another are not accepted; None for any.
    """

    prompt: CaptionPrompt
    max_side: int = MAX_SIDE
    language: Language | None = None


class Caption(Question[Sample]):
    """A picture to describe.

    Args:
        picture: see there.
        model: who describes it.
        task: what holds for every picture.
    """

    def __init__(self, picture: NamedPicture, model: str, task: CaptionTask) -> None:
        self.picture, self.task = picture, task
        self.name, self.model = picture.name, model

    def content(self) -> Sequence[str]:
        """Prompt, size, and a digest of the picture as it is before it is made smaller."""
        prompt = self.task.prompt
        picture = self.picture.picture
        # Refuses what has no end before its bytes are read.
        picture_size(fetch(picture))
        digest = hashlib.sha256(picture_bytes(picture)).hexdigest()
        return ["caption", prompt.system, prompt.ask or prompt.question, str(self.task.max_side), digest]

    def messages(self, problem: str) -> Chat:
        """The picture and what is asked about it; the same however often it is asked."""
        prompt = self.task.prompt
        system = [Message.of("system", prompt.system)] if prompt.system else []
        turn = Message.of("user", Image(), prompt.ask or prompt.question)
        return endpoint_messages([*system, turn], [self.picture.picture], max_side=self.task.max_side)

    def accept(self, reply: Reply) -> Sample:
        """Question and description as a sample.

        Raises:
            UnfitError: when the reply is not whole, refuses, or is in another language than it should be.
        """
        if reply.problem:
            raise UnfitError(reply.problem)
        if declined(reply.text):
            raise UnfitError(f"refused: {reply.text[:100]!r}")
        wanted, found = self.task.language, written_in(reply.text)
        if wanted is not None and found != wanted:
            raise UnfitError(f"language: expected {wanted}, found {reply.text[:60]!r}")
        messages = (
            Message.of("user", Image(), self.task.prompt.question),
            Message.of("assistant", reply.text),
        )
        return Sample(
            id=f"{self.name}#{self.model}",
            messages=messages,
            images=(self.picture.picture,),
            task="caption",
            language=found if found in ("zh", "en") else language_of(messages[1:]),
            source=self.model,
        )


class Pictures:
    """The pictures in a folder and all folders in it, sorted, or those of a data file in its order; each once.

    Args:
        place: a folder of pictures, or anything that ``open_data`` takes.
        format: of data; found out by itself unless said. A folder is then one of data files.
        images: where the pictures of data are; see ``open_data``.

    Raises:
        TuwenError: when there is none, or the data is broken.
    """

    def __init__(self, place: Path, *, format: str | None = None, images: str | Path | None = None) -> None:
        self.files: list[str] = []
        self._folder = place
        self._dataset = None if place.is_dir() and format is None else open_data(place, format=format, images=images)
        if self._dataset is None:
            found = (file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            self.files = sorted(str(file) for file in found)
        else:
            self.files = self._dataset.files
        # Read through once before anything is paid for: a broken record at the end is found now.
        self._count = sum(1 for _ in self)
        if not self._count:
            raise TuwenError(f"{place}: holds no picture; expected {', '.join(sorted(SUFFIXES))}, or data with such")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[NamedPicture]:
        if self._dataset is None:
            for file in self.files:
                yield NamedPicture(Path(file).relative_to(self._folder).as_posix(), Path(file))
            return
        seen: set[object] = set()
        for sample in self._dataset:
            for number, picture in enumerate(sample.images):
                # Pictures inside the data may be more than fit into memory.
                identity = hashlib.sha256(picture).digest() if isinstance(picture, bytes) else picture
                if identity not in seen:
                    seen.add(identity)
                    yield NamedPicture(sample.id if len(sample.images) == 1 else f"{sample.id}#{number}", picture)


def caption(
    pictures: Pictures,
    out: Path,
    *,
    task: CaptionTask,
    models: Sequence[str],
    options: AskingOptions,
    format: str = "tuwen",
    console: Console | None = None,
) -> Report:
    """Have every picture described by every model, and write one sample for each description.

    Args:
        pictures: what is described.
        out: the data file to write; replies are kept beside it.
        task: what is asked.
        models: who is asked.
        options: how they are asked.
        format: of ``out``.
        console: where progress is shown.

    Raises:
        TuwenError: for an endpoint that cannot be used, and when all is rejected.
    """
    if not models:
        raise TuwenError("model: name at least one that describes the pictures")
    job = Job(out, "caption", options, format)
    job.check(pictures.files)

    def questions() -> Iterator[tuple[int, Caption]]:
        return enumerate(Caption(picture, model, task) for picture in pictures for model in models)

    with job.replies(console or Console()) as (cache, display):
        answers = ask_all(questions(), len(pictures) * len(models), options, cache, display.watch)
        samples = (answers.result(place, question) for place, question in questions())
        count = write_data((sample for sample in samples if sample is not None), out, format=format)
        return report(job, answers, count, cache)
