"""The source ``data``: samples on disk, in any format, found by an index; those about the same pictures together."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from tuwen.config import StrictConfig, TuwenError
from tuwen.data.bad_samples import BadSample
from tuwen.data.dataset import Dataset, open_data
from tuwen.data.index import SampleIndex
from tuwen.data.indexing import open_index
from tuwen.data.sample import Language, Sample
from tuwen.data.source import SOURCES, Group
from tuwen.models.processing import TuwenProcessor

# So many samples share one encoding of their pictures at most.
MOST_TOGETHER = 32


class DataSettings(StrictConfig):
    """Where the samples are and what they do not say themselves.

    Attributes:
        path: file, folder, pattern or `fsspec` URL.
        format: its name; found out by looking at it unless said.
        images: folder, archive or URL that pictures' paths are relative to; the data's own folder unless said.
        task: the name under which these samples are balanced and reported, in place of their own.
        language: of samples that do not say it; judged by their text unless said.
        options: settings of the format.
    """

    path: str
    format: str | None = None
    images: str | None = None
    task: str | None = None
    language: Language | None = None
    options: dict[str, Any] = {}

    def open(self) -> Dataset:
        """The data set.

        Raises:
            TuwenError: when it is not there or in no format that is known.
        """
        return open_data(
            self.path, format=self.format, images=self.images, language=self.language, options=self.options
        )


@SOURCES.register("data")
class DataSource:
    """Samples on disk; nothing but the index is kept in memory.

    Args:
        config: where they are.

    Raises:
        TuwenError: naming the file that cannot be read.
    """

    config_class: ClassVar[type[StrictConfig]] = DataSettings

    def __init__(self, config: DataSettings) -> None:
        self._config = config
        self.dataset = config.open()
        self.index: SampleIndex = open_index(self.dataset)
        if not len(self.index):
            reason = f"; the first problem: {self.index.bad[0].reason}" if self.index.bad else ""
            raise TuwenError(f"{config.path}: holds no sample that can be used{reason}")

    @cached_property
    def _groups(self) -> Any:
        return self.index.groups(MOST_TOGETHER)

    @property
    def size(self) -> int | None:
        """Groups in the data."""
        return len(self._groups[1]) - 1

    @property
    def samples(self) -> int | None:
        """Samples in the data that can be used."""
        return len(self.index)

    @property
    def bad(self) -> list[BadSample]:
        """What the index had to leave out."""
        return self.index.bad

    def measure(self, processor: TuwenProcessor, *, pairs: bool = False) -> None:
        """Index the lengths that samples have for a model; what it cannot take is left out too.

        Args:
            processor: of the model.
            pairs: whether answers are compared with rejected ones.
        """
        self.index = open_index(self.dataset, processor, pairs=pairs)

    def group(self, seed: int, index: int) -> Group:
        """Group number ``index`` in the order of the data."""
        rows, offsets = self._groups
        return tuple(self.sample(int(row)) for row in rows[offsets[index] : offsets[index + 1]])

    def sample(self, row: int) -> Sample:
        """Sample number ``row`` of the index, under the task that was chosen."""
        found = self.dataset.sample(self.index.place(row))
        return found if self._config.task is None else replace(found, task=self._config.task)

    def texts(self, seed: int, count: int) -> list[str]:
        """The texts of ``count`` samples, spread evenly over the data."""
        step = max(1, len(self.index) // max(1, count))
        samples = (self.sample(row) for row in range(0, len(self.index), step))
        return [message.text for sample in samples for message in sample.messages]
