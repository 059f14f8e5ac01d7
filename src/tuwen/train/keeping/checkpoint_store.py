"""The checkpoints of a run: written beside, flushed, renamed once; the last good one is always there."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import torch
from torch import Tensor

from tuwen.config import TuwenError
from tuwen.train.keeping.checkpoint import (
    FORMAT,
    MANIFEST,
    STATE,
    Checkpoint,
    SavedCheckpoint,
    open_checkpoint,
    state_text,
)
from tuwen.train.keeping.files import Counted, FileLayer, check_plain, tensor_chunks

# The number behind the dot is there while a checkpoint replaces another one of the same step.
NAME = re.compile(r"(?P<stage>.+)-(?P<step>\d{6,18})(?:\.(?P<attempt>\d{1,9}))?")
# No stage's name can hold the tilde, so nothing that somebody else has put there is taken for a leftover.
LEFTOVER = re.compile(r"\..+-\d{6,18}(\.\d{1,9})?~[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a checkpoint lies; ``order`` is the number of the stage, the step, and the attempt at it."""

    path: Path
    order: tuple[int, int, int]


class Checkpoints:
    """The checkpoints of one run, for the one process that writes them.

    Each is a folder ``STAGE-000123`` of safetensors files, ``state.json`` and ``manifest.json`` with the size and
    SHA-256 of each file. It is written under a hidden name, brought to the disk, and renamed once; older ones go
    afterwards. So the run can be killed at any moment and loses what came after the last checkpoint at most.

    Args:
        folder: where they lie; it is made if need be, and what a killed run has left half-written goes.
        stages: names of the run's stages, in their order.
        keep: how many stay, the newest; 0 for all.
        asynchronous: write in the background, from a copy in the memory of the CPU that is kept for the next one.
        say: is told, in a line each, of what people should know: a broken checkpoint, one that is given up.
        files: how the disk is changed.

    Raises:
        TuwenError: when the folder cannot be made or cleaned.
    """

    def __init__(
        self,
        folder: Path,
        stages: Sequence[str],
        *,
        keep: int = 2,
        asynchronous: bool = True,
        say: Callable[[str], None] = lambda line: None,
        files: FileLayer | None = None,
    ) -> None:
        self.folder, self.stages, self.keep, self.say = folder.absolute(), tuple(stages), keep, say
        self._files = files or FileLayer()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint") if asynchronous else None
        self._writing: Future[None] | None = None
        self._copies: dict[str, dict[str, Tensor]] = {}
        self._broken: set[Path] = set()
        try:
            self._open_folder()
        except OSError as error:
            raise TuwenError(f"{self.folder}: cannot be written ({_reason(error)})") from error

    def _open_folder(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        for path in reversed(missing):
            self._files.make_folder(path)
            self._files.flush_folder(path.parent)
        for path in sorted(self.folder.iterdir()):
            if LEFTOVER.fullmatch(path.name):
                self._files.remove(path)
                self.say(f"{path}: left behind by a run that was killed, removed")
            elif (match := NAME.fullmatch(path.name)) and match["stage"] not in self.stages:
                self.say(f"{path}: the recipe has no stage {match['stage']!r}, so this checkpoint is left alone")

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, after the one before has been written; returns its folder.

        One of the same step is replaced. Those that lie after it go too: the run has left them by going back.

        Raises:
            TuwenError: when this one or, in the background, the one before cannot be written; in the second case
                nothing of this one is. What could not be written is removed, and older checkpoints stay.
            TypeError, ValueError: when a tensor or the state is of a kind that would not come back as it was.
        """
        self.wait()
        state = state_text(checkpoint)
        _check(checkpoint.tensors)
        path = self.folder / f"{checkpoint.stage}-{checkpoint.step:06d}"
        place = (self.stages.index(checkpoint.stage), checkpoint.step)
        found = self._found()
        attempt = max((there.order[2] for there in found if there.order[:2] == place), default=0) + 1
        written = path if attempt == 1 else path.with_name(f"{path.name}.{attempt}")
        stale = self._stale(found, place)
        tensors = checkpoint.tensors if self._writer is None else self._copy(checkpoint.tensors)

        def write() -> None:
            files = {f"{file}.safetensors": tensor_chunks(named) for file, named in tensors.items()}
            self._write(written, {STATE: [state], **files})
            self._tidy(written, path, stale)

        if self._writer is None:
            write()
        else:
            self._writing = self._writer.submit(write)
        return path

    def latest(self) -> SavedCheckpoint | None:
        """The newest checkpoint that is whole; None where there is none at all.

        Raises:
            TuwenError: when there are some, but all of them are broken.
        """
        self.wait()
        found = self._found()
        for place in reversed(found):
            try:
                saved = open_checkpoint(place.path)
                stage, step, _ = place.order
                if (saved.stage, saved.step) != (self.stages[stage], step):
                    raise TuwenError(f"{place.path}: its {STATE} is of {saved.stage}, step {saved.step}")
                return saved
            except TuwenError as error:
                self._broken.add(place.path)
                self.say(f"{error}; this checkpoint is broken, going back to the one before")
        if found:
            raise TuwenError(f"{self.folder}: no checkpoint can be used, all {len(found)} are broken")
        return None

    def wait(self) -> None:
        """Come back when the last checkpoint has been written.

        Raises:
            TuwenError: when it could not be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Finish; see ``wait``."""
        try:
            self.wait()
        finally:
            self._copies.clear()
            if self._writer is not None:
                self._writer.shutdown()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except TuwenError as failure:
            # What has ended the run must not be hidden by what came of it.
            if error is None:
                raise
            error.add_note(str(failure))

    def _found(self) -> list[_Place]:
        """All checkpoints of the recipe's stages, whole or broken, oldest first."""
        places = []
        try:
            paths = list(self.folder.iterdir())
        except OSError as error:
            raise TuwenError(f"{self.folder}: cannot be read ({_reason(error)})") from error
        for path in paths:
            match = NAME.fullmatch(path.name)
            if match and match["stage"] in self.stages and path.is_dir():
                order = (self.stages.index(match["stage"]), int(match["step"]), int(match["attempt"] or 1))
                places.append(_Place(path, order))
        return sorted(places, key=lambda place: place.order)

    def _stale(self, found: list[_Place], written: tuple[int, int]) -> list[Path]:
        """What goes once there is a checkpoint of the stage and step that are written now."""
        good = [there for there in found if there.order[:2] < written and there.path not in self._broken]
        kept = good[max(0, len(good) - self.keep + 1) :] if self.keep else good
        for there in found:
            if there.order[:2] > written:
                self.say(f"{there.path}: the run has gone back to before this checkpoint, so it goes with the next one")
        return [there.path for there in found if there not in kept]

    def _copy(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Tensors as they are now; memory of the copy before is used again, fresh memory takes five times as long."""
        before, self._copies = self._copies, {}
        for file, named in tensors.items():
            self._copies[file] = {}
            for name, tensor in named.items():
                copy = before.get(file, {}).get(name)
                if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
                    copy = torch.empty(tensor.shape, dtype=tensor.dtype)
                self._copies[file][name] = copy.copy_(tensor.detach())
        return self._copies

    def _write(self, path: Path, contents: Mapping[str, Iterable[bytes | memoryview]]) -> None:
        partial = self._hidden(path)
        try:
            self._files.make_folder(partial)
            entries = {}
            for name, chunks in contents.items():
                counted = Counted(chunks)
                self._files.write(partial / name, counted)
                entries[name] = {"bytes": counted.bytes, "sha256": counted.sha256.hexdigest()}
            manifest = json.dumps({"format": FORMAT, "files": entries}, indent=2) + "\n"
            self._files.write(partial / MANIFEST, [manifest.encode()])
            self._files.flush_folder(partial)
            self._files.rename(partial, path)
            self._files.flush_folder(self.folder)
        except BaseException as error:
            self._abandon(path, partial, error)

    def _abandon(self, path: Path, partial: Path, error: BaseException) -> NoReturn:
        left = ""
        try:
            if partial.exists():
                self._files.remove(partial)
        except OSError as failure:
            left = f"; {partial} cannot be removed ({_reason(failure)})"
        if isinstance(error, OSError):
            raise TuwenError(
                f"{path}: cannot be written ({_reason(error)}); older checkpoints are as they were{left}"
            ) from error
        raise error

    def _tidy(self, written: Path, path: Path, stale: list[Path]) -> None:
        """Remove what is stale, each under a hidden name first, so that no half of one is taken for a whole."""
        try:
            hidden = [self._hidden(old) for old in stale]
            # Oldest first: what was the newest before stays so until the new one is.
            for old, new in zip(stale, hidden, strict=True):
                self._files.rename(old, new)
            if written != path:
                self._files.rename(written, path)
            if stale:
                self._files.flush_folder(self.folder)
            for new in hidden:
                self._files.remove(new)
        except OSError as error:
            raise TuwenError(f"{path}: is written, but older ones cannot be removed ({_reason(error)})") from error

    def _hidden(self, path: Path) -> Path:
        return self.folder / f".{path.name}~{uuid.uuid4().hex[:8]}"


def _check(tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    for file, named in tensors.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", file):
            raise ValueError(f"{file!r} cannot be the name of a file of tensors")
        for name, tensor in named.items():
            check_plain(f"{file}: {name}", tensor)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
