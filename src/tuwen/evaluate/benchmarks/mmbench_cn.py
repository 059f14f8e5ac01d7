"""MMBench-CN: MMBench in Chinese, question by question.

Liu et al. 2023, "MMBench: Is Your Multi-modal Model an All-around Player?".
"""

from __future__ import annotations

from tuwen.evaluate.benchmark import BENCHMARKS
from tuwen.evaluate.benchmarks.mmbench import MMBench, circular_of_systems


@BENCHMARKS.register("mmbench_cn")
class MMBenchCN(MMBench):
    """See the module."""

    name = "mmbench_cn"
    title = "MMBench-CN"
    summary = "MMBench's questions in Chinese, scored as MMBench."
    summary_zh = "MMBench 的中文版。选项轮换后每次都答对才算对（circular）；plain 只看第一次。"
    files = {"*.tsv": "one table: mmbench_dev_cn_20231003.tsv or MMBench_DEV_CN.tsv (1,164 questions, 4,329 rows)"}
    direct = "请直接回答选项字母。"
    choose = "请从以下选项中选择一个正确选项。"
    published = circular_of_systems(codefuse=69.8, llava_7b=58.3, llava_13b=63.6, qwen_vl_chat=56.7)
