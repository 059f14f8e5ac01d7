"""Statistics of a data set as plain values, for JSON and for people."""

from __future__ import annotations

from typing import Any

from tuwen.data.looking.stats import Statistics, mean, quantile

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
TITLES = {
    "sample": "每个样本 whole sample",
    "text": "其中文本 its text",
    "answers": "其中训练 its trained part",
    "pictures": "其中图片 its pictures",
}
MOST_FREQUENT = 12


def unit_of(found: Statistics) -> tuple[str, str]:
    """What lengths are counted in, in Chinese and in English."""
    return ("词元", "tokens") if found.lengths["text"] else ("字符", "characters")


def values_of(found: Statistics) -> dict[str, Any]:
    """All statistics, for JSON."""
    return {
        "samples": found.samples,
        "unusable": found.broken,
        "pictures": {
            "used": found.places,
            "different": found.different_pictures(),
            "cannot_be_opened": found.lost,
            "per_sample": dict(sorted(found.pictures.items())),
            "longer_side": summary_of(found.sides),
        },
        "unit": unit_of(found)[1],
        "lengths": {name: summary_of(counts) for name, counts in found.lengths.items() if counts},
        "trained_share": round(found.trained_share, 4),
        "languages": dict(found.languages.most_common()),
        "turns": dict(sorted(found.turns.items())),
        "tasks": {
            name: {
                "samples": task.samples,
                "languages": dict(task.languages.most_common()),
                "turns": round(task.turns / task.samples, 2),
                "length": round(task.length / task.samples, 1),
                "trained_share": round(task.trained / task.length, 4) if task.length else 0.0,
            }
            for name, task in ranked_tasks(found)
        },
        "sources": dict(found.sources.most_common()),
        "short_answers": dict(found.answers.top(MOST_FREQUENT)),
        "question_openings": dict(found.openings.top(MOST_FREQUENT)),
        "counts_too_low_by": {"short_answers": found.answers.missed, "question_openings": found.openings.missed},
        "first_problem": found.problem,
    }


def summary_of(counts: dict[int, int]) -> dict[str, float]:
    """Mean, quantiles and sum of lengths."""
    return {
        "mean": round(mean(counts), 1),
        **{name: quantile(counts, share) for name, share in QUANTILES.items()},
        "sum": sum(length * count for length, count in counts.items()),
    }


def ranked_tasks(found: Statistics) -> list[tuple[str, Any]]:
    """Tasks with what was counted of them, the largest first."""
    return sorted(found.tasks.items(), key=lambda one: (-one[1].samples, one[0]))
