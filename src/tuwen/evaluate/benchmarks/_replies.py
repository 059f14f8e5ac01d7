"""Replies as most programs keep them: a record for each, with the item's id and the text under one of a few keys."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from tuwen.config import TuwenError
from tuwen.evaluate.benchmark import Item, Prediction
from tuwen.evaluate.files import own_predictions, read_records, value

# Behind the others, for records of some programs hold the right answer as well, under this key.
REPLY_KEYS = ("prediction", "text", "output", "response", "answer")


def read_replies(path: Path, *id_keys: str) -> list[Prediction]:
    """Predictions in Tuwen's own form, or in a JSON list or JSONL with one of these keys for the item's id.

    Raises:
        TuwenError: naming the record that lacks a key.
    """
    own = own_predictions(path)
    if own is not None:
        return own
    found = []
    for number, record in enumerate(read_records(path, "predictions"), start=1):
        where = f"{path}: record {number}"
        name = value(record, *id_keys, where=where)
        found.append(Prediction(str(name), value(record, *REPLY_KEYS, where=where)))
    return found


def text_of(prediction: Prediction) -> str:
    """A prediction's text.

    Raises:
        TuwenError: when it is no text.
    """
    if not isinstance(prediction.text, str):
        raise TuwenError(f"prediction of {prediction.id}: expected a text, found {prediction.text!r:.40}")
    return prediction.text


def require_known(predicted: Iterable[str], items: Container[str], name: str) -> None:
    """Check that predictions belong to items.

    Args:
        predicted: ids of predictions.
        items: ids of items.
        name: of the benchmark.

    Raises:
        TuwenError: naming the first prediction that does not.
    """
    for one in predicted:
        if one not in items:
            raise TuwenError(f"{name}: prediction of {one}: the data has no such item")


def in_order(items: Sequence[Item], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Predictions in the order of their items, the last one of each.

    Raises:
        TuwenError: naming a prediction that belongs to no item.
    """
    last = {prediction.id: prediction for prediction in predictions}
    require_known(last, {item.id for item in items}, "predictions")
    return [last[item.id] for item in items if item.id in last]
