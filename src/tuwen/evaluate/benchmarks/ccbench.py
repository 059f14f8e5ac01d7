"""CCBench: questions with four options about Chinese culture, by the authors of MMBench and in its form."""

from __future__ import annotations

from collections.abc import Sequence

from tuwen.evaluate.benchmark import BENCHMARKS
from tuwen.evaluate.benchmarks._circular_choice import CircularChoice, percentages
from tuwen.evaluate.scoring.circular import Verdict


@BENCHMARKS.register("ccbench")
class CCBench(CircularChoice):
    """See the module."""

    name = "ccbench"
    title = "CCBench"
    summary = (
        "510 questions about Chinese culture in seven categories, from calligraphy to traditional shows; plain "
        "accuracy, and circular where the table has rotations of the options."
    )
    summary_zh = "510 道中国文化单选题，七个类别；计普通准确率，若数据含选项轮换则另计 circular。"
    files = {"*.tsv": "one table: CCBench.tsv"}
    direct = "请直接回答选项字母。"

    def headline(self, questions: Sequence[Verdict], first: Sequence[Verdict]) -> dict[str, float]:
        """Plain percentages, over all and by category; circular ones first where there are rotations."""
        rotated = any(row.index != row.first for row in self.rows.values())
        named = {**({"circular": list(questions)} if rotated else {}), "plain": list(first)}
        for verdict in first:
            if verdict.category is not None:
                named.setdefault(verdict.category, []).append(verdict)
        return percentages(named)
