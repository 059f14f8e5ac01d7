"""MMBench-CN: MMBench in Chinese, question by question.

Liu et al. 2023, "MMBench: Is Your Multi-modal Model an All-around Player?".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tuwen.evaluate.benchmark import BENCHMARKS, Published
from tuwen.evaluate.benchmarks._circular_choice import CircularChoice
from tuwen.evaluate.benchmarks.mmbench import CODEFUSE, LISTED, SAMPLED, WHICH


@BENCHMARKS.register("mmbench_cn")
class MMBenchCN(CircularChoice):
    """See the module."""

    name: ClassVar[str] = "mmbench_cn"
    title: ClassVar[str] = "MMBench-CN"
    summary: ClassVar[str] = (
        "MMBench's questions in Chinese. A question counts when it is answered rightly in every rotation of its "
        "options (circular); plain accuracy looks at the first one alone."
    )
    summary_zh: ClassVar[str] = "MMBench 的中文版。选项轮换后每次都答对才算对（circular）；plain 只看第一次。"
    homepage: ClassVar[str] = "https://github.com/open-compass/MMBench"
    files: ClassVar[Mapping[str, str]] = {
        "*.tsv": "one table: mmbench_dev_cn_20231003.tsv or MMBench_DEV_CN.tsv (1,164 questions, 4,329 rows)"
    }
    styles: ClassVar[tuple[str, ...]] = ("llava", "qwen", "codefuse")
    direct: ClassVar[str] = "请直接回答选项字母。"
    choose: ClassVar[str] = "请从以下选项中选择一个正确选项。"
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            system="CodeFuse-VLM-14B", values={"circular": 69.8}, source=CODEFUSE, note=f"{SAMPLED}; style codefuse"
        ),
        Published(system="LLaVA-1.5-7B", values={"circular": 58.3}, source="LLaVA docs/MODEL_ZOO.md", note=WHICH),
        Published(system="LLaVA-1.5-13B", values={"circular": 63.6}, source="LLaVA docs/MODEL_ZOO.md", note=WHICH),
        Published(system="Qwen-VL-Chat", values={"circular": 56.7}, source=CODEFUSE, note=f"{LISTED}; {WHICH}"),
    )
