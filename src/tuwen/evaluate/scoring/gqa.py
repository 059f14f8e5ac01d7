"""GQA's metrics, and how systems clean up an answer before it is compared.

Hudson and Manning 2019, "GQA: A New Dataset for Real-World Visual Reasoning and Compositional Question Answering";
``eval.py`` of the data's own archive. Answers are compared as strings, exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuwen.evaluate.figures import mean

# What a question has in common with others is one of these, whatever the choices file says.
_COMMON = ("color", "material", "shape")
# Steps of a question's program that are no reasoning of their own.
_NO_STEPS = ("exist", "query: name", "choose name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One balanced question's outcome.

    Attributes:
        correct: the answer is the reference.
        valid: it could answer such a question; None without a choices file.
        plausible: it could be so in the world; None without a choices file.
    """

    correct: bool
    valid: bool | None = None
    plausible: bool | None = None


def llava_answer(reply: str) -> str:
    """LLaVA's converter: periods at the end deleted, in lower case."""
    return reply.rstrip(".").lower()


def qwen_vl_answer(reply: str) -> str:
    """Qwen-VL's clean-up: the first clause, then what follows a verb or article and precedes an "of".

    The words are looked for anywhere, even inside of others, one after the other.
    """
    answer = reply.strip().split(".")[0].split(",")[0].split("!")[0].lower()
    for word in ("is ", "are ", "a ", "an ", "the "):
        if word in answer:
            answer = answer.split(word)[1]
    return answer.split(" of")[0].strip()


def verdict(question: Mapping[str, Any], answer: str, choices: Mapping[str, Sequence[str]] | None) -> Verdict:
    """Compare an answer with a question's reference and choices."""
    correct = answer == question["answer"]
    if choices is None:
        return Verdict(correct=correct)
    common = "Common" in question["types"]["detailed"]
    return Verdict(
        correct=correct,
        valid=answer in (_COMMON if common else choices["valid"]),
        plausible=answer in (_COMMON if common else choices["plausible"]),
    )


def metrics(
    questions: Mapping[str, Mapping[str, Any]],
    answers: Mapping[str, str],
    verdicts: Mapping[str, Verdict],
    *,
    consistent: bool,
) -> dict[str, Any]:
    """All figures of the official program, in percent but for the distribution.

    Args:
        questions: by id, as in the official file; those that are entailed among them.
        answers: by id; of all questions where ``consistent``.
        verdicts: of the balanced questions.
        consistent: compute consistency too.

    Raises:
        ZeroDivisionError: when no balanced question has a global group.
    """
    balanced = {name: questions[name] for name in verdicts}
    right = {name: float(one.correct) for name, one in verdicts.items()}
    openness = {name: question["types"]["structural"] == "query" for name, question in balanced.items()}
    result: dict[str, Any] = {
        "binary": _percent({name: credit for name, credit in right.items() if not openness[name]}),
        "open": _percent({name: credit for name, credit in right.items() if openness[name]}),
        "accuracy": _percent(right),
        "validity": _percent({name: float(bool(one.valid)) for name, one in verdicts.items()}),
        "plausibility": _percent({name: float(bool(one.plausible)) for name, one in verdicts.items()}),
        "distribution": distribution(balanced, answers),
    }
    if consistent:
        result["consistency"] = consistency(questions, answers, verdicts)
    groups = {
        "accuracyPerStructuralType": {name: question["types"]["structural"] for name, question in balanced.items()},
        "accuracyPerSemanticType": {name: question["types"]["semantic"] for name, question in balanced.items()},
        "accuracyPerSteps": {name: str(steps(question)) for name, question in balanced.items()},
        "accuracyPerLength": {name: str(len(question["question"].split())) for name, question in balanced.items()},
    }
    return result | {key: _per_group(right, group) for key, group in groups.items()}


def consistency(
    questions: Mapping[str, Mapping[str, Any]], answers: Mapping[str, str], verdicts: Mapping[str, Verdict]
) -> float:
    """Of the questions whose answers follow from one that was answered right, how many were too, in percent."""
    scores = {}
    for name, one in verdicts.items():
        entailed = [other for other in questions[name]["entailed"] if other != name]
        if one.correct and entailed:
            scores[name] = sum(answers[other] == questions[other]["answer"] for other in entailed) / len(entailed)
    return _percent(scores)


def distribution(questions: Mapping[str, Mapping[str, Any]], answers: Mapping[str, str]) -> float:
    """Chi-square of the answers given to the answers expected, over groups of questions; the lower, the better.

    Raises:
        ZeroDivisionError: when no question has a global group.
    """
    expected: dict[str, Counter[str]] = {}
    given: dict[str, Counter[str]] = {}
    for name, question in questions.items():
        group = question["groups"]["global"]
        if group is not None:
            expected.setdefault(group, Counter())[question["answer"]] += 1
            given.setdefault(group, Counter())[answers[name]] += 1
    total = 0.0
    for group, counts in expected.items():
        total += sum((given[group][answer] - count) ** 2 / count for answer, count in counts.items()) * counts.total()
    return total / sum(counts.total() for counts in expected.values()) / 100


def steps(question: Mapping[str, Any]) -> int:
    """Reasoning steps of a question's program."""
    written = (f"{step['operation']}: {step['argument']}" for step in question["semantic"])
    return sum(not any(word in step for word in _NO_STEPS) for step in written)


def _percent(credits: Mapping[str, float]) -> float:
    return mean(credits.items()) * 100 if credits else 0.0


def _per_group(right: Mapping[str, float], group: Mapping[str, str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, score in right.items():
        found.setdefault(group[name], {})[name] = score
    return {key: {"accuracy": _percent(values), "questions": len(values)} for key, values in found.items()}
