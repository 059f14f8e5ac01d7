"""MMBench: questions with up to four options about twenty abilities, asked once for each rotation of the options.

Liu et al. 2023, "MMBench: Is Your Multi-modal Model an All-around Player?".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tuwen.evaluate.benchmark import BENCHMARKS, Published
from tuwen.evaluate.benchmarks._circular_choice import CircularChoice

CODEFUSE = "CodeFuse-MFT-VLM README"
SAMPLED = "sampled at temperature 0.2, top_p 0.3"
LISTED = "listed there as Qwen-VL"
WHICH = "which split is not said; replies that no rule reads went to a language model"


@BENCHMARKS.register("mmbench")
class MMBench(CircularChoice):
    """See the module."""

    name: ClassVar[str] = "mmbench"
    title: ClassVar[str] = "MMBench"
    summary: ClassVar[str] = (
        "Questions with lettered options. A question counts when it is answered rightly in every rotation of its "
        "options (circular); plain accuracy looks at the first one alone."
    )
    summary_zh: ClassVar[str] = "单选题。选项轮换后每次都答对才算对（circular）；plain 只看第一次。"
    homepage: ClassVar[str] = "https://github.com/open-compass/MMBench"
    files: ClassVar[Mapping[str, str]] = {
        "*.tsv": "one table: mmbench_dev_20230712.tsv or MMBench_DEV_EN.tsv (1,164 questions, 4,329 rows); of the test "
        "split, whose answers are not published, predictions can be written"
    }
    styles: ClassVar[tuple[str, ...]] = ("llava", "qwen", "codefuse")
    direct: ClassVar[str] = "Answer with the option's letter from the given choices directly."
    choose: ClassVar[str] = "Please choose a correct option in the following choice."
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            system="CodeFuse-VLM-14B", values={"circular": 75.7}, source=CODEFUSE, note=f"{SAMPLED}; style codefuse"
        ),
        Published(system="LLaVA-1.5-7B", values={"circular": 64.3}, source="LLaVA docs/MODEL_ZOO.md", note=WHICH),
        Published(system="LLaVA-1.5-13B", values={"circular": 67.7}, source="LLaVA docs/MODEL_ZOO.md", note=WHICH),
        Published(system="Qwen-VL-Chat", values={"circular": 60.6}, source=CODEFUSE, note=f"{LISTED}; {WHICH}"),
    )
