"""LLaVA of `transformers` with its ``Trainer``: batches padded to their longest, in three orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch.utils.data import Dataset, RandomSampler, Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from training.corpora import messages_of, sample_of
from training.measure import WARM_UP, Amounts, Meter, Outcome, amounts_of
from training.models import planned, twin, twin_processor
from training.task import Task
from tuwen.chat.renderer import IGNORE_INDEX

# Batches that `transformers` sorts together in a data set that is large enough.
SORTED_TOGETHER = 50


class Conversations(Dataset[dict[str, Any]]):
    """Samples rendered and their pictures read when they are asked for.

    Args:
        task: whose corpus it is.
        processor: of LLaVA.
    """

    def __init__(self, task: Task, processor: Any) -> None:
        self.records, self.pictures, self.processor = task.corpus.records(), task.corpus.pictures, processor

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        messages = messages_of(record)
        if "image" in record:
            messages[0]["content"][0]["image"] = PIL.Image.open(self.pictures / record["image"]).convert("RGB")
        made = self.processor.apply_chat_template(
            [messages], tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
        )
        ids_L = made["input_ids"][0]
        trained_L = torch.as_tensor(made["assistant_masks"])[0] == 1
        return {
            "input_ids": ids_L,
            "labels": torch.where(trained_L, ids_L, IGNORE_INDEX),
            "pixel_values": made.get("pixel_values"),
        }


def pad(samples: list[dict[str, Any]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """A padded batch, as LLaVA's collator makes it."""
    sequence = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    ids_BL = sequence([one["input_ids"] for one in samples], padding_value=pad_token_id)
    lengths = torch.tensor([len(one["input_ids"]) for one in samples])
    batch = {
        "input_ids": ids_BL,
        "labels": sequence([one["labels"] for one in samples], padding_value=IGNORE_INDEX),
        "attention_mask": (torch.arange(ids_BL.shape[1])[None] < lengths[:, None]).long(),
    }
    pictures = [one["pixel_values"] for one in samples if one["pixel_values"] is not None]
    return {**batch, **({"pixel_values": torch.cat(pictures)} if pictures else {})}


class MeasuredTraining(TrainerCallback):
    """Tells a meter of each step."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Where memory counts from."""
        self._meter.begin()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """One step more."""
        self._meter.step()


class Order(Sampler[int]):
    """Samples in an order that is drawn anew for each epoch.

    Args:
        draw: random numbers → the order.
        samples: how many there are.
        seed: of the random numbers.
    """

    def __init__(self, draw: Callable[[np.random.Generator], list[int]], samples: int, seed: int) -> None:
        self._draw, self._samples, self._rng = draw, samples, np.random.default_rng(seed)

    def __len__(self) -> int:
        return self._samples

    def __iter__(self) -> Iterator[int]:
        return iter(self._draw(self._rng))


def by_modality(lengths: list[tuple[int, bool]], batch: int, rng: np.random.Generator) -> list[int]:
    """LLaVA's ``group_by_modality_length`` on one device: batches with pictures and batches without; what is left of
    both makes the last ones."""
    batches, left = [], []
    for pictured in (True, False):
        side = rng.permutation([place for place, (_, has) in enumerate(lengths) if has == pictured]).tolist()
        whole = len(side) // batch * batch
        batches += [side[start : start + batch] for start in range(0, whole, batch)]
        left += side[whole:]
    return [int(place) for number in rng.permutation(len(batches)) for place in batches[number]] + left


def by_length(lengths: list[tuple[int, bool]], batch: int, rng: np.random.Generator) -> list[int]:
    """``group_by_length`` of `transformers`, the samples sorted in stretches as long as those of a large data set."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    order: list[int] = get_length_grouped_indices(
        [length for length, _ in lengths], batch, mega_batch_mult=SORTED_TOGETHER, generator=generator
    )
    return order


class OrderedTrainer(Trainer):
    """``Trainer`` with an order of its own, as LLaVA's is."""

    order: Sampler[int]

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self.order


def trainer_settings(task: Task) -> dict[str, Any]:
    """``TrainingArguments`` of all contenders that have them."""
    return {
        "output_dir": str(task.place),
        "per_device_train_batch_size": task.batch,
        "max_steps": task.steps + WARM_UP,
        "learning_rate": 1e-3,
        "bf16": task.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": task.size.gradient_checkpointing,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "seed": task.seed,
        "dataloader_num_workers": task.workers,
        "dataloader_persistent_workers": task.workers > 0,
    }


def epoch_amounts(task: Task) -> Amounts:
    """What an epoch trains when every sample is computed by itself."""
    _, processor = planned(task.corpus.model(task.size))
    return amounts_of(([sample_of(record)] for record in task.corpus.records()), processor)


def train(task: Task, order: str) -> Outcome:
    """Train an epoch.

    Args:
        task: what and how.
        order: ``random``, ``modality`` or ``length``.
    """
    config, ours = planned(task.corpus.model(task.size))
    processor = twin_processor(config, ours)
    draws: dict[str, Callable[[list[tuple[int, bool]], int, np.random.Generator], list[int]]] = {
        "modality": by_modality,
        "length": by_length,
    }
    data = Conversations(task, processor)
    meter = Meter()
    model = twin(config, task.size)
    if task.size.gradient_checkpointing:
        model.enable_input_require_grads()
    trainer = OrderedTrainer(
        model=model,
        args=TrainingArguments(**trainer_settings(task)),
        train_dataset=data,
        data_collator=partial(pad, pad_token_id=processor.tokenizer.pad_token_id),
        callbacks=[MeasuredTraining(meter)],
    )
    generator = torch.Generator().manual_seed(task.seed)
    trainer.order = RandomSampler(data, generator=generator)
    if order in draws:
        draw = partial(draws[order], task.corpus.lengths(), task.batch)
        trainer.order = Order(draw, len(data), task.seed)
    trainer.train()
    return task.outcome(meter, epoch_amounts(task))
