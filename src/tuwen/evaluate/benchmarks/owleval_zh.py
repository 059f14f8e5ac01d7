"""OwlEval in Chinese: 82 open questions about 50 pictures.

Ye et al. 2023, "mPLUG-Owl: Modularization Empowers Large Language Models with Multimodality"; translated by the authors
of VisualCLA. Answers are graded by people, from A to D.
"""

from __future__ import annotations

from tuwen.evaluate.benchmark import BENCHMARKS
from tuwen.evaluate.benchmarks._judged import Judged


@BENCHMARKS.register("owleval_zh")
class OwlEvalZh(Judged):
    """OwlEval, translated."""

    name = "owleval_zh"
    title = "OwlEval 中文"
    summary = "Open questions about pictures in Chinese, graded from A to D by people, or scored by a judge."
    summary_zh = "开放式图文问答，人工按 A–D 评级，或由评委模型打分。"
    homepage = "https://github.com/X-PLUG/mPLUG-Owl"
    files = {
        "owl_test_zh_questions.json": "questions (VisualCLA's translation)",
        "owl_model_predictions.json": "a system's answers that others are compared with; for judging pairs",
        "cases": "pictures",
    }
    questions_file = "owl_test_zh_questions.json"
    answers_file = "owl_model_predictions.json"
    question_key = "question"
    # As the published file spells it.
    answer_key = "outout"
    picture_folders = ("cases", "images")
