"""MMBench: questions with up to four options about twenty abilities, asked once for each rotation of the options.

Liu et al. 2023, "MMBench: Is Your Multi-modal Model an All-around Player?".
"""

from __future__ import annotations

from tuwen.evaluate.benchmark import BENCHMARKS, Published
from tuwen.evaluate.benchmarks._circular_choice import CircularChoice

_LLAVA, _CODEFUSE = "LLaVA docs/MODEL_ZOO.md", "CodeFuse-MFT-VLM README"
_SAMPLED = "sampled at temperature 0.2, top_p 0.3; style codefuse"
_WHICH = "which split is not said; replies that no rule reads went to a language model"


def circular_of_systems(
    *, codefuse: float, llava_7b: float, llava_13b: float, qwen_vl_chat: float
) -> tuple[Published, ...]:
    """Circular accuracies that stand in the same places for MMBench and for its Chinese version."""
    tables = {
        "CodeFuse-VLM-14B": (codefuse, _CODEFUSE, _SAMPLED),
        "LLaVA-1.5-7B": (llava_7b, _LLAVA, _WHICH),
        "LLaVA-1.5-13B": (llava_13b, _LLAVA, _WHICH),
        "Qwen-VL-Chat": (qwen_vl_chat, _CODEFUSE, f"listed there as Qwen-VL; {_WHICH}"),
    }
    return tuple(
        Published(system=system, values={"circular": figure}, source=source, note=note)
        for system, (figure, source, note) in tables.items()
    )


@BENCHMARKS.register("mmbench")
class MMBench(CircularChoice):
    """See the module."""

    name = "mmbench"
    title = "MMBench"
    summary = (
        "Questions with lettered options. A question counts when it is answered rightly in every rotation of its "
        "options (circular); plain accuracy looks at the first one alone."
    )
    summary_zh = "单选题。选项轮换后每次都答对才算对（circular）；plain 只看第一次。"
    files = {
        "*.tsv": "one table: mmbench_dev_20230712.tsv or MMBench_DEV_EN.tsv (1,164 questions, 4,329 rows); of the test "
        "split, whose answers are not published, predictions can be written"
    }
    styles = ("llava", "qwen", "codefuse")
    direct = "Answer with the option's letter from the given choices directly."
    choose = "Please choose a correct option in the following choice."
    published = circular_of_systems(codefuse=75.7, llava_7b=64.3, llava_13b=67.7, qwen_vl_chat=60.6)
