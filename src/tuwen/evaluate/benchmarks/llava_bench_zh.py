"""LLaVA-Bench (COCO) in Chinese: talk, description and reasoning about thirty pictures.

Liu et al. 2023, "Visual Instruction Tuning"; translated by the authors of VisualCLA.
"""

from __future__ import annotations

from tuwen.evaluate.benchmark import BENCHMARKS
from tuwen.evaluate.benchmarks._judged import Judged


@BENCHMARKS.register("llava_bench_zh")
class LlavaBenchZh(Judged):
    """LLaVA's test set, translated."""

    name = "llava_bench_zh"
    title = "LLaVA-Bench 中文"
    summary = "Talk about, description of and reasoning about 30 pictures in Chinese, scored by a judge or by people."
    summary_zh = "30 张 COCO 图片上的对话、描述与推理，由评委模型或人工打分。"
    homepage = "https://github.com/airaria/Visual-Chinese-LLaMA-Alpaca"
    files = {
        "llava_test_zh_questions.json": "questions (VisualCLA's translation)",
        "llava_model_predictions.json": "a system's answers that others are compared with; for judging pairs",
        "val2014": "pictures of COCO val2014",
    }
    questions_file = "llava_test_zh_questions.json"
    answers_file = "llava_model_predictions.json"
    question_key = "instruction"
    answer_key = "output"
    picture_folders = ("val2014", "images")
