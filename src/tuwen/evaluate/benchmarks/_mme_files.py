"""MME's files: the released folder, the lists of the official tool, and results with a fourth column.

Nine subtasks keep pictures and questions side by side, five keep them in folders of their own. Each picture has two
questions; to one the answer is yes, to the other no.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuwen.config import TuwenError, unknown_name
from tuwen.evaluate.benchmark import Prediction
from tuwen.evaluate.benchmarks._replies import REPLY_KEYS
from tuwen.evaluate.files import own_predictions, read_records, read_text, require, value

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
TASKS = (*PERCEPTION, *COGNITION)
IN_FOLDERS = ("posters", "celebrity", "scene", "landmark", "artwork")
RELEASE = "MME_Benchmark_release_version"
LISTS = "Your_Results"
RESULTS, RECORDS = "results", "predictions.jsonl"
QUESTIONS = "questions_answers_YN"
REQUEST = "Please answer yes or no."
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# LLaVA asks for a word or phrase instead, and its answers have that prompt.
_REQUESTS = re.compile(r"Please answer yes or no\.|Answer the question using a single word or phrase\.")


@dataclass(frozen=True, slots=True)
class Question:
    """A question of MME.

    Attributes:
        id: subtask, picture, and 0 or 1.
        task: the subtask.
        image: the picture's name.
        text: as it stands in the file.
        answer: Yes or No.
        picture: where the picture is.
    """

    id: str
    task: str
    image: str
    text: str
    answer: str
    picture: Path


def read_questions(data: Path) -> list[Question]:
    """All questions of the subtasks that are there, in the order of the official tool's lists where they are.

    Args:
        data: folder with ``MME_Benchmark_release_version`` or ``Your_Results``, or the released folder itself.

    Raises:
        TuwenError: naming the file and line, subtask or picture that is missing or wrong.
    """
    release = _first(data / RELEASE / "MME_Benchmark", data / RELEASE, data)
    lists = next((place for place in (data / LISTS, data / "eval_tool" / LISTS) if place.is_dir()), None)
    if release is None and lists is None:
        raise TuwenError(f"{data}: neither {RELEASE} nor {LISTS} is here; expected MME's data")
    home = release or data / RELEASE
    rows = _listed(lists) if lists is not None else _released(home)
    found: list[Question] = []
    for task in (task for task in TASKS if task in rows):
        pictures = _pictures(home / task)
        number: dict[str, int] = {}
        for image, text, answer in rows[task]:
            place = number[image] = number.get(image, -1) + 1
            picture = pictures.get(image, home / task / ("images" if task in IN_FOLDERS else "") / image)
            found.append(Question(f"{task}/{image}#{place}", task, image, text, answer, picture))
    return found


def _first(*places: Path) -> Path | None:
    return next((place for place in places if any((place / task).is_dir() for task in TASKS)), None)


def _pictures(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.rglob("*") if path.suffix.lower() in PICTURES}


def _released(release: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Rows of picture, question and answer by subtask, pictures by name."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for folder in sorted(place for place in release.iterdir() if place.is_dir()):
        texts = folder / QUESTIONS if (folder / QUESTIONS).is_dir() else folder
        files = sorted(texts.glob("*.txt"))
        if not files:
            continue
        _require_task(folder.name, folder)
        names = {Path(name).stem: name for name in _pictures(folder)}
        rows = found[folder.name] = []
        for file in files:
            # Of a picture that is not there, only the stem is known.
            name = names.get(file.stem, file.stem)
            lines = [(name, *_cells(line, 2, where)) for where, line in _lines(file)]
            _require_pair(lines, file)
            rows += [(image, text, answer) for image, text, answer in lines]
    return found


def _listed(lists: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Rows of picture, question and answer by subtask, as the official tool lists them."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for file in sorted(lists.glob("*.txt")):
        _require_task(file.stem, file)
        rows = []
        for where, line in _lines(file):
            image, text, answer = _cells(line, 3, where)
            rows.append((image, text, answer))
        names: dict[str, list[tuple[str, str, str]]] = {}
        for row in rows:
            names.setdefault(row[0], []).append(row)
        for pair in names.values():
            _require_pair(pair, file)
        found[file.stem] = rows
    if not found:
        raise TuwenError(f"{lists}: no subtask is here; expected {', '.join(f'{task}.txt' for task in TASKS[:3])}, …")
    return found


def _require_task(task: str, place: Path) -> None:
    if task not in TASKS:
        raise TuwenError(f"{place}: {unknown_name('subtask of MME', task, list(TASKS))}")


def _require_pair(rows: Sequence[tuple[str, ...]], file: Path) -> None:
    if len(rows) != 2:
        name = rows[0][0] if rows else file.stem
        raise TuwenError(f"{file}: {name} has {len(rows)} questions; expected 2, one with Yes and one with No")


def _lines(file: Path) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(read_text(file, "lines of MME").split("\n"), start=1):
        if line.strip():
            yield f"{file}: line {number}", line


def _cells(line: str, count: int, where: str) -> tuple[str, ...]:
    """The cells of a line; the answer is the one behind the question, without blanks around it."""
    cells = line.split("\t")
    if len(cells) != count:
        raise TuwenError(f"{where}: {len(cells)} columns; expected {count} with a tab between them")
    truth = 1 if count == 2 else 2
    answer = cells[truth].strip()
    if answer.lower() not in ("yes", "no"):
        raise TuwenError(f"{where}: the answer is {answer!r:.40}; expected Yes or No")
    return (*cells[:truth], answer, *cells[truth + 1 :])


class Names:
    """Finds the id that a subtask, a picture and a question stand for.

    Args:
        questions: all of them.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        self._ids: dict[tuple[str, str, str], list[Question]] = {}
        self._asked: dict[tuple[str, str, str], int] = {}
        for question in questions:
            self._ids.setdefault(_key(question.task, question.image, question.text), []).append(question)

    def find(self, task: str, image: str, text: str, truth: str | None, where: str) -> str:
        """The id; one that no question has where there is no such question.

        Raises:
            TuwenError: when the answer that is given for the right one is another.
        """
        key = _key(task, image, text)
        same = self._ids.get(key)
        if same is None:
            return f"{task}/{image}: {text}"
        # Two questions about a picture may have the same words; then they follow each other in every form.
        place = self._asked[key] = self._asked.get(key, -1) + 1
        question = same[place % len(same)]
        if truth is not None and truth.lower() != question.answer.lower():
            raise TuwenError(f"{where}: the right answer is given as {truth}, and as {question.answer} in the data")
        return question.id


def _key(task: str, image: str, text: str) -> tuple[str, str, str]:
    return task, Path(image).stem, " ".join(_REQUESTS.sub(" ", text).split())


def read_predictions(files: Sequence[Path], questions: Iterable[Question]) -> list[Prediction]:
    """Predictions: a folder of results or its files, JSONL by subtask, picture and question, or LLaVA's answers.

    Results keep the order of their lines, by which the official program pairs them; records come in the data's order.

    Raises:
        TuwenError: naming the file and line that is wrong.
    """
    every = list(questions)
    names = Names(every)
    found: list[Prediction] = []
    for place in (one for file in files for one in _places(require(file, "predictions for MME"))):
        if place.suffix == ".txt":
            found += _results(place, names)
        else:
            found += _ordered(own_predictions(place) or _records(place, names), every)
    return found


def _places(place: Path) -> list[Path]:
    """The files that are meant: a file itself; of a folder its results, or its records where it has none."""
    if not place.is_dir():
        return [place]
    for folder in (place, place / RESULTS):
        texts = sorted(folder.glob("*.txt"), key=lambda file: _rank(file.stem))
        if texts:
            return texts
    if (place / RECORDS).is_file():
        return [place / RECORDS]
    raise TuwenError(f"{place}: no results are here; expected {TASKS[0]}.txt, …, or {RECORDS}")


def _ordered(found: Sequence[Prediction], questions: Sequence[Question]) -> list[Prediction]:
    """Predictions in the questions' order; what is there a second time follows as a second round."""
    order = {question.id: place for place, question in enumerate(questions)}
    times: Counter[str] = Counter()
    keyed = []
    for prediction in found:
        keyed.append((times[prediction.id], order.get(prediction.id, len(order)), prediction))
        times[prediction.id] += 1
    return [prediction for *_, prediction in sorted(keyed, key=lambda one: one[:2])]


def _rank(task: str) -> int:
    return TASKS.index(task) if task in TASKS else len(TASKS)


def _results(file: Path, names: Names) -> list[Prediction]:
    _require_task(file.stem, file)
    found = []
    for where, line in _lines(file):
        image, text, truth, reply = _cells(line, 4, where)
        found.append(Prediction(names.find(file.stem, image, text, truth, where), reply))
    return found


def _records(file: Path, names: Names) -> list[Prediction]:
    found = []
    for number, record in enumerate(read_records(file, "predictions for MME"), start=1):
        where = f"{file}: record {number}"
        reply = value(record, *REPLY_KEYS, where=where)
        if "question_id" in record and "task" not in record:
            task, _, image = str(record["question_id"]).partition("/")
            text = str(value(record, "prompt", where=where))
        else:
            task, image, text = (str(value(record, key, where=where)) for key in ("task", "image", "question"))
        found.append(Prediction(names.find(task, image, text, None, where), reply))
    return found
