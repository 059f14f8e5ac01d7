"""``SFTTrainer`` of TRL with its own collator for pictures; the loss is taken over answers alone."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, Image, List
from trl import SFTConfig, SFTTrainer

from training.corpora import messages_of
from training.measure import Meter, Outcome
from training.models import planned, twin, twin_processor
from training.padded import MeasuredTraining, epoch_amounts, trainer_settings
from training.task import Task


def _rows(task: Task) -> list[dict[str, Any]]:
    rows = []
    for record in task.corpus.records():
        messages = [{"role": turn["role"], "content": turn["content"][-1]["text"]} for turn in messages_of(record)]
        pictures = [str(task.corpus.pictures / record["image"])] if "image" in record else []
        rows.append({"messages": messages, "images": pictures})
    return rows


def train(task: Task) -> Outcome:
    """Train an epoch."""
    config, processor = planned(task.corpus.model(task.size))
    meter = Meter()
    trainer = SFTTrainer(
        model=twin(config, task.size),
        args=SFTConfig(**trainer_settings(task), assistant_only_loss=True, max_length=None),
        train_dataset=Dataset.from_list(_rows(task)).cast_column("images", List(Image())),
        processing_class=twin_processor(config, processor),
        callbacks=[MeasuredTraining(meter)],
    )
    trainer.train()
    return task.outcome(meter, epoch_amounts(task))
