"""Training step, side by side: Tuwen against a plain `transformers` LLaVA with its ``Trainer`` and padding.

Same drawn pictures and questions, same sizes (SigLIP encoder × 2-layer MLP × LLaMA), same precision, same
optimiser. The baseline trains as LLaVA does: one sequence for each question, padded to the longest of its batch.

    python benchmarks/training.py [--steps 12] [--pictures 16] [--precision bf16]

Prints answer tokens/s (tokens that the loss is taken over) and images/s (pictures whose questions were all
trained, so that both sides count the same work), and the ratio of the two sides, measured in alternating rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch.utils.data import Dataset
from transformers import LlavaConfig, LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments

from tuwen.checkpoints.build import build_model
from tuwen.checkpoints.folder import ModelFolder
from tuwen.config import parse_config
from tuwen.data.loader import Batch, Collator, DrawnSteps, step_batches
from tuwen.data.source import Mixture, parse_sources
from tuwen.models.attention import prefer_products
from tuwen.models.recipe import ModelRecipe
from tuwen.train.loop import StageLoop
from tuwen.train.optimizer import make_groups
from tuwen.train.progress import RunDisplay
from tuwen.train.stage import Stage
from tuwen.vision import open_picture

MODEL: dict[str, Any] = {
    "vision": {
        "config": {
            "model_type": "siglip_vision_model",
            "image_size": 128,
            "patch_size": 16,
            "hidden_size": 160,
            "num_hidden_layers": 4,
            "num_attention_heads": 5,
            "intermediate_size": 640,
            "vision_use_head": False,
        }
    },
    "vision_feature": {"layers": [-1]},
    "connector": {"type": "mlp", "depth": 2},
    "language": {
        "config": {
            "model_type": "llama",
            "hidden_size": 192,
            "num_hidden_layers": 4,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "intermediate_size": 512,
            "tie_word_embeddings": True,
        }
    },
    "image_policy": {"type": "square", "size": 128},
    "tokenizer": {"train": {"vocab_size": 1200}},
}
SOURCES = [{"type": "synth", "size": 128, "suites": {"shapes": 0.6, "faces": 0.2, "words": 0.2}}]
WARM_UP = 2


class SingleSamples(Dataset[dict[str, Any]]):
    """Every question a sample of its own, as a LLaVA file lists them."""

    def __init__(self, mixture: Mixture, folder: ModelFolder, pictures: int) -> None:
        self.samples = [sample for index in range(pictures) for sample in mixture.group(0, index) if sample.images]
        self.processor = folder.processor

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.samples[index]
        encoded = self.processor.encode(sample.messages, [open_picture(image) for image in sample.images])
        return {
            "input_ids": torch.tensor(encoded.rendered.input_ids),
            "labels": torch.tensor(encoded.rendered.labels),
            "pixel_values": torch.from_numpy(encoded.pixel_values[0]),
        }


class Timer(TrainerCallback):
    """Seconds of each step of ``Trainer``."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.marks.append(time.perf_counter())


def pad(samples: list[dict[str, Any]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """A padded batch, as LLaVA's collator makes it."""
    sequence = torch.nn.utils.rnn.pad_sequence
    ids = sequence([one["input_ids"] for one in samples], batch_first=True, padding_value=pad_token_id)
    lengths = torch.tensor([len(one["input_ids"]) for one in samples])
    return {
        "input_ids": ids,
        "labels": sequence([one["labels"] for one in samples], batch_first=True, padding_value=-100),
        "attention_mask": (torch.arange(ids.shape[1])[None] < lengths[:, None]).long(),
        "pixel_values": torch.stack([one["pixel_values"] for one in samples]),
    }


def baseline_model(folder: ModelFolder) -> LlavaForConditionalGeneration:
    """The same parts as `transformers` puts them together."""
    config = folder.model.config
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=config.vision_config,
            text_config=config.text_config,
            image_token_index=config.image_token_id,
            vision_feature_select_strategy="full",
            vision_feature_layer=-1,
            tie_word_embeddings=True,
        )
    )


def run_baseline(folder: ModelFolder, mixture: Mixture, options: argparse.Namespace) -> tuple[float, float]:
    """(answer tokens/s, images/s) of ``Trainer``."""
    dataset = SingleSamples(mixture, folder, options.pictures * 4)
    each = len(dataset) / (options.pictures * 4)
    pad_token_id = folder.processor.tokenizer.pad_token_id
    tokens: list[int] = []

    def collate(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        tokens.append(sum(int((one["labels"][1:] >= 0).sum()) for one in samples))
        return pad(samples, pad_token_id)

    timer = Timer()
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place,
            per_device_train_batch_size=options.batch,
            max_steps=options.steps + WARM_UP,
            learning_rate=1e-3,
            bf16=options.precision == "bf16",
            use_cpu=not torch.cuda.is_available(),
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
            dataloader_num_workers=0,
        )
        Trainer(
            model=baseline_model(folder),
            args=arguments,
            train_dataset=dataset,
            data_collator=collate,
            callbacks=[timer],
        ).train()
    seconds = timer.marks[-1] - timer.marks[WARM_UP - 1]
    trained = sum(tokens[WARM_UP : WARM_UP + options.steps])
    return trained / seconds, options.batch * options.steps / each / seconds


def run_ours(folder: ModelFolder, mixture: Mixture, options: argparse.Namespace) -> tuple[float, float]:
    """(answer tokens/s, images/s) of Tuwen's loop on the same pictures."""
    full = {"mode": "full", "learning_rate": 1e-3}
    stage = parse_config(
        Stage,
        {
            "name": "bench",
            "steps": options.steps + WARM_UP,
            "groups": options.pictures,
            "modules": {"vision": full, "connector": full, "language": full},
        },
        "benchmark",
    )
    folder.model.train()
    if options.attention == "products":
        prefer_products(folder.model)
    groups = DrawnSteps(mixture=mixture, seed=0, groups=options.pictures)
    batches = step_batches(groups, Collator(folder.processor), steps=range(options.steps + WARM_UP), workers=0)
    marks: list[float] = []
    counts: list[tuple[int, int]] = []

    def counted(source: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        for here in source:
            counts.append((sum(int((b.labels >= 0).sum()) for b in here), options.pictures))
            yield here

    with tempfile.TemporaryDirectory() as place:
        loop = StageLoop(
            folder.model,
            make_groups(folder.model, stage),
            stage,
            accelerator=Accelerator(mixed_precision="bf16" if options.precision == "bf16" else "no"),
            metrics=Path(place) / "metrics.jsonl",
        )
        display = RunDisplay([(stage.name, loop.steps)], Console(quiet=True))
        loop.run(
            counted(islice(batches, loop.steps)), display, after_step=lambda step: marks.append(time.perf_counter())
        )
    seconds = marks[-1] - marks[WARM_UP - 1]
    tokens = sum(count for count, _ in counts[WARM_UP:])
    return tokens / seconds, options.pictures * options.steps / seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="measured steps a round")
    parser.add_argument("--pictures", type=int, default=16, help="pictures in a batch of Tuwen's")
    parser.add_argument("--batch", type=int, default=64, help="sequences in a padded batch of the baseline's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--attention", choices=("products", "sdpa"), default="products", help="of Tuwen's, in bf16")
    options = parser.parse_args()
    mixture = parse_sources(SOURCES)
    folder = build_model(parse_config(ModelRecipe, MODEL, "benchmark"), mixture.texts(0, 4000))
    results: dict[str, list[tuple[float, float]]] = {"transformers LLaVA + Trainer": [], "tuwen": []}
    for _ in range(options.rounds):
        results["transformers LLaVA + Trainer"].append(run_baseline(folder, mixture, options))
        results["tuwen"].append(run_ours(folder, mixture, options))
    medians = {
        name: [sorted(values)[len(values) // 2] for values in zip(*rounds, strict=True)]
        for name, rounds in results.items()
    }
    print(f"{options.precision}, {torch.get_num_threads()} threads, median of {options.rounds} rounds")
    for name, (tokens, images) in medians.items():
        print(f"{name:30} {tokens:8.0f} answer tokens/s {images:8.1f} images/s")
    base, ours = medians["transformers LLaVA + Trainer"], medians["tuwen"]
    print(f"{'ratio':30} {ours[0] / base[0]:8.2f} x               {ours[1] / base[1]:8.2f} x")


if __name__ == "__main__":
    main()
