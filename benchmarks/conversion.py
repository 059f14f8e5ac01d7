"""Time and memory of `tuwen convert` against `from_pretrained` + `save_pretrained` of `transformers`.

    python benchmarks/conversion.py [--gigabytes 2] [--rounds 3] [--folder DIR]

Both read the same LLaVA folder with random weights in bf16, in shards of an eighth of it, and write a whole folder;
each runs in a process of its own. Peak memory is that process's largest resident set, less what it has before it
opens the folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

WIDTH, INNER, VOCABULARY = 1536, 8960, 32_000
LAYER_WEIGHTS = 3 * WIDTH * INNER + int(2.25 * WIDTH * WIDTH)

MEASURED = """
import json, sys, time
from pathlib import Path
source, out = Path(sys.argv[1]), Path(sys.argv[2])
{imports}
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
before, started = peak(), time.perf_counter()
{work}
print(json.dumps({{"seconds": time.perf_counter() - started, "gigabytes": peak() - before}}))
"""
WAYS = {
    "transformers": MEASURED.format(
        imports="import torch\nfrom transformers import LlavaForConditionalGeneration",
        work="LlavaForConditionalGeneration.from_pretrained(source, dtype='auto').save_pretrained(out)",
    ),
    "tuwen convert": MEASURED.format(
        imports="from tuwen.checkpoints.convert import convert\nfrom tuwen.checkpoints.opening import read_folder",
        work="convert(read_folder(source), out)",
    ),
}


def make(folder: Path, gigabytes: float) -> None:
    """A LLaVA folder in bf16 with random weights of about this size."""
    layers = max(1, round((gigabytes * 1e9 / 2 - 2 * VOCABULARY * WIDTH) / LAYER_WEIGHTS))
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=224,
            patch_size=14,
        ),
        text_config=Qwen2Config(
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=layers,
            num_attention_heads=12,
            num_key_value_heads=2,
            vocab_size=VOCABULARY,
            tie_word_embeddings=False,
        ),
        image_token_id=4,
        tie_word_embeddings=False,
    )
    torch.set_default_dtype(torch.bfloat16)
    LlavaForConditionalGeneration(config).save_pretrained(folder, max_shard_size=int(gigabytes * 1e9 / 8))
    torch.set_default_dtype(torch.float32)
    words = {"<unk>": 0, "<|endoftext|>": 1, "<|im_start|>": 2, "<|im_end|>": 3, "<image>": 4}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<image>"]})
    tokenizer.save_pretrained(folder)
    processor = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}, "crop_size": 224}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def run(way: str, source: Path, out: Path) -> dict[str, float]:
    """Seconds and gigabytes of one way."""
    shutil.rmtree(out, ignore_errors=True)
    result = subprocess.run(
        [sys.executable, "-c", WAYS[way], str(source), str(out)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"{way}: {result.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; a temporary folder unless said")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        source, out = Path(place) / "model", Path(place) / "out"
        make(source, options.gigabytes)
        size = sum(file.stat().st_size for file in source.glob("*.safetensors")) / 2**30
        shard = max(file.stat().st_size for file in source.glob("*.safetensors")) / 2**30
        print(f"{size:.2f} GiB in shards of at most {shard:.2f} GiB, median of {options.rounds} rounds")
        rounds = {way: [] for way in WAYS}  # type: dict[str, list[dict[str, float]]]
        for _ in range(options.rounds):
            for way, found in rounds.items():
                found.append(run(way, source, out))
    medians = {
        way: {key: sorted(one[key] for one in found)[len(found) // 2] for key in found[0]}
        for way, found in rounds.items()
    }
    for way, figures in medians.items():
        print(f"{way:14} {figures['seconds']:7.1f} s   {figures['gigabytes']:6.2f} GiB")
    base, ours = medians["transformers"], medians["tuwen convert"]
    ratios = {key: ours[key] / base[key] for key in base}
    print(f"{'ratio':14} {ratios['seconds']:7.2f} x   {ratios['gigabytes']:6.2f} x")


if __name__ == "__main__":
    main()
