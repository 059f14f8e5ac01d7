"""Draws a corpus to disk: shards that are each a function of what is drawn, the seed and their number, and a card.

A shard is a JSONL file of samples in Tuwen's own form, and a zip archive with their pictures, each once.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import PIL

from tuwen.config import MissingExtraError, Registry, TuwenError
from tuwen.data.dataset import write_data
from tuwen.data.sample import Sample, Stored
from tuwen.data.storage import written_whole
from tuwen.data.synth.fonts import font_versions
from tuwen.data.synth.synthesiser import SynthConfig, Synthesiser

# Out of sight of whoever lists the folder's data.
DONE = ".tuwen/shards.jsonl"
PLAN = ".tuwen/synth.json"
CARD = "README.md"
# A zip member needs some time; this is the first one that it can say.
NO_TIME = (1980, 1, 1, 0, 0, 0)

Finished = dict[str, Any]
ENGINES = Registry("engine")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn.

    Attributes:
        config: suites and their settings.
        count: pictures in all.
        seed: of everything.
        shard_size: pictures of a shard.
        out: folder that is written.
    """

    config: SynthConfig
    count: int
    seed: int
    shard_size: int
    out: Path

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.count // self.shard_size)

    def name(self, shard: int) -> str:
        """A shard's name, without its suffix."""
        suites = "-".join(self.config.suites) if len(self.config.suites) < 4 else "mixed"
        return f"{suites}-{shard:05d}-of-{self.shards:05d}"

    def to_json(self) -> str:
        """All that the bytes depend on, but for versions."""
        config = self.config.model_dump(mode="json")
        values = {"config": config, "count": self.count, "seed": self.seed, "shard_size": self.shard_size}
        return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


def synthesise(
    plan: Plan, *, workers: int = 0, engine: str = "local", progress: Callable[[Finished], None] | None = None
) -> list[Finished]:
    """Draw all shards that are not there yet, and write the card (``tuwen data synth``).

    Args:
        plan: what is drawn.
        workers: processes; as many as there are processors unless said.
        engine: ``local`` (processes of this machine) or ``ray`` (Ray Data, on a cluster).
        progress: called with what is known of each shard when it is done.

    Returns:
        Of each shard: its name, pictures, samples, how many of each task and language, and a hash of its bytes.

    Raises:
        TuwenError: when the folder holds something else, or a suite cannot be drawn here.
    """
    run = ENGINES.get(engine)
    done = _done(plan)
    for known in done.values():
        if progress is not None:
            progress(known)
    if missing := [shard for shard in range(plan.shards) if plan.name(shard) not in done]:
        # What is wrong with the settings is said once, here, and not by every process; nothing is written then.
        Synthesiser(plan.config).draw(plan.seed, 0)
        drawing = run(partial(draw_shard, plan), missing, workers)
        with _log(plan) as log:
            for finished in drawing:
                log.write(json.dumps(finished, ensure_ascii=False) + "\n")
                log.flush()
                os.fsync(log.fileno())
                done[finished["shard"]] = finished
                if progress is not None:
                    progress(finished)
    result = [done[plan.name(shard)] for shard in range(plan.shards)]
    with written_whole(plan.out / CARD) as partial_card:
        partial_card.write_text(_card(plan, result), encoding="utf-8")
    return result


def _done(plan: Plan) -> dict[str, Finished]:
    """What is there already of this very plan.

    Raises:
        TuwenError: when something else is there.
    """
    known = plan.out / PLAN
    if plan.out.exists() and not plan.out.is_dir():
        raise TuwenError(f"{plan.out}: is a file; name the folder to write")
    if not known.is_file():
        if plan.out.exists() and any(plan.out.iterdir()):
            raise TuwenError(f"{plan.out}: holds something else; choose an empty or new folder")
        return {}
    if known.read_text(encoding="utf-8") != plan.to_json():
        raise TuwenError(f"{plan.out}: was drawn with other settings (see {PLAN} in it); choose another folder")
    log = plan.out / DONE
    # A line that a kill has cut off has no end.
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.is_file() else []
    done = map(json.loads, lines)
    return {one["shard"]: one for one in done if (plan.out / f"{one['shard']}.jsonl").is_file()}


def _log(plan: Plan) -> IO[str]:
    """The folder's list of shards, to go on with; the folder is the plan's from now on."""
    with written_whole(plan.out / PLAN) as partial_plan:
        partial_plan.write_text(plan.to_json(), encoding="utf-8")
    for torn in plan.out.glob(".*.partial"):
        torn.unlink()
    log = plan.out / DONE
    if log.is_file():
        os.truncate(log, log.read_bytes().rfind(b"\n") + 1)
    return log.open("a", encoding="utf-8")


def draw_shard(plan: Plan, shard: int) -> Finished:
    """Draw one shard: the same bytes in any process, on any machine with the same fonts and version of Pillow."""
    synthesiser = Synthesiser(plan.config)
    tasks: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    name = plan.name(shard)
    first = shard * plan.shard_size
    numbers = range(first, min(plan.count, first + plan.shard_size))
    archive = plan.out / f"{name}.zip"
    with written_whole(archive) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as pictures:

        def samples() -> Iterator[Sample]:
            for number in numbers:
                drawn = synthesiser.draw(plan.seed, number)
                stored = None
                if drawn.image is not None:
                    stored = Stored(str(archive), f"{number:09d}.png")
                    pictures.writestr(zipfile.ZipInfo(stored.member, NO_TIME), _png(drawn.image))
                for sample in drawn.samples:
                    tasks[sample.task] += 1
                    languages[sample.language] += 1
                    yield replace(sample, images=() if stored is None else (stored,))

        count = write_data(samples(), plan.out / f"{name}.jsonl")
    digest = hashlib.blake2b(digest_size=16)
    for path in (plan.out / f"{name}.jsonl", archive):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return {
        "shard": name,
        "pictures": len(numbers),
        "samples": count,
        "tasks": dict(sorted(tasks.items())),
        "languages": dict(sorted(languages.items())),
        "hash": digest.hexdigest(),
    }


def _png(image: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Drawn pictures gain little from more compression, which takes several times as long.
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


@ENGINES.register("local")
def run_locally(draw: Callable[[int], Finished], shards: list[int], workers: int) -> Iterable[Finished]:
    """Shards as they come from processes of this machine."""
    count = min(workers or os.cpu_count() or 1, len(shards))
    if count <= 1:
        yield from map(draw, shards)
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, shards)


@ENGINES.register("ray")
def run_with_ray(draw: Callable[[int], Finished], shards: list[int], workers: int) -> Iterable[Finished]:
    """Shards as they come from Ray Data; the folder must be one that all machines share."""
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray") from None

    def drawn(row: dict[str, Any]) -> dict[str, Any]:
        return {"finished": json.dumps(draw(int(row["id"])))}

    source = ray.data.from_items([{"id": shard} for shard in shards], override_num_blocks=len(shards))
    concurrency = {"concurrency": workers} if workers else {}
    return (json.loads(row["finished"]) for row in source.map(drawn, **concurrency).iter_rows())


def _card(plan: Plan, shards: list[Finished]) -> str:
    """What people should know of the corpus, in the form of a data card of the Hugging Face hub."""
    tasks: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    for shard in shards:
        tasks.update(shard["tasks"])
        languages.update(shard["languages"])
    pictures, samples = (sum(shard[key] for shard in shards) for key in ("pictures", "samples"))
    suites = ", ".join(f"{name} ({weight:g})" for name, weight in plan.config.suites.items())
    rows = "".join(f"| {task} | {count:,} |\n" for task, count in sorted(tasks.items()))
    spoken = ", ".join(f"{language}: {count:,}" for language, count in sorted(languages.items()))
    fonts = "".join(f"- {name}: {version}\n" for name, version in sorted(font_versions().items()))
    return (
        "---\nlanguage: [zh, en]\nlicense: cc0-1.0\n"
        "task_categories: [visual-question-answering, image-to-text]\n---\n\n"
        f"# Drawn by Tuwen: {', '.join(plan.config.suites)}\n\n"
        "Every picture is drawn and every answer follows from what was drawn. 图片均由程序绘制,答案由所绘内容推出。\n\n"
        f"- pictures 图片: {pictures:,}\n- samples 样本: {samples:,} ({spoken})\n- shards 分片: {len(shards)}\n"
        f"- suites 题库: {suites}\n- seed 种子: {plan.seed}\n"
        f"- Tuwen {version('tuwen')}, Pillow {PIL.__version__}, Python {platform.python_version()}\n\n"
        f"All settings are in `{PLAN}`; `{DONE}` has the hash of every shard.\n\n"
        f"| task 任务 | samples 样本 |\n| --- | --- |\n{rows}\n## Fonts 字体\n\n{fonts}\n"
        "## Use 使用\n\n```yaml\nsources:\n  - {type: data, path: THIS_FOLDER}\n```\n"
    )
