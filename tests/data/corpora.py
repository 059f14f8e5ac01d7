"""Published corpora in miniature: their layouts and keys, with pictures and words of ours."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any
from zlib import crc32

import PIL.Image

SIZE = (80, 60)
VG_ADDRESS = "https://cs.stanford.edu/people/rak248"


def draw(path: Path, size: tuple[int, int] = SIZE) -> Path:
    """A picture of one colour, made of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = tuple(crc32(path.name.encode()) >> shift & 255 for shift in (0, 8, 16))
    PIL.Image.new("RGB", size, colour).save(path, "GIF" if path.suffix == ".gif" else None)
    return path


def put(path: Path, value: Any) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def put_lines(path: Path, values: list[Any]) -> Path:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path


def memes(folder: Path) -> Path:
    """Descriptions by three models, with the pictures of emo-visual-data and ChineseBQB below."""
    emo = ["000ba939-ccf5-4071-af24-09c1d8829b0d.jpg", "00f61c15-f8f7-4640-bfe2-d45d519cac79.png"]
    bqb = ["滑稽大佬00001-360度鄙视你.gif", "王冰冰00001-oh你很拽诶.jpg"]
    for name in emo:
        draw(folder / "emo" / name)
    draw(folder / "ChineseBQB/001Funny_滑稽大佬😏BQB" / bqb[0])
    draw(folder / "ChineseBQB/065WangBingBing_王冰冰BQB" / bqb[1])
    put(folder / "ChineseBQB/chinesebqb_github.json", {"status": 1000, "data": [{"name": bqb[0], "category": "001"}]})
    for file, names in (
        ("emo-visual-data-gemini-1_5_pro.jsonl", emo),
        ("emo-visual-data_yivision.jsonl", emo[:1]),
        ("ChineseBQB-picked-gemini-1.5-pro-latest_cleaned.jsonl", bqb),
    ):
        lines = [{"picName": name, "description": f" 这张图片说的是{name[:4]}。\n"} for name in names]
        put_lines(folder / file, lines)
    put_lines(folder / "ChineseBQB-gemini-1.5-pro-latest_invalid.jsonl", [{"picName": bqb[0], "description": "抱歉。"}])
    return folder


def emo_visual_data(folder: Path) -> Path:
    """emo-visual-data by itself."""
    name = draw(folder / "emo/000317dc-9047-4d68-bb55-e40c09ed0f9a.jpg").name
    put(folder / "data.json", [{"filename": name, "content": "这个表情包展示了两只水豚。"}])
    put(folder / "glm_data.json", [{"filename": name, "content": "两只严肃的水豚。"}])
    return folder


def donut(truth: Any) -> str:
    """``ground_truth`` as Donut keeps it."""
    return json.dumps(truth, ensure_ascii=False)


PARSES: tuple[Any, ...] = (
    {"gt_parse": {"text_sequence": "春眠不觉晓 处处闻啼鸟"}},
    {"gt_parse": {"text_sequence": "Sleeping in spring, I missed the dawn"}},
    {"gt_parse": {"menu": [{"nm": "豆浆", "price": "3"}, {"nm": "油条", "price": "2"}], "total": {"price": "5"}}},
    {"gt_parses": [{"question": "谁写的?", "answer": "孟浩然"}, {"question": "谁写的?", "answer": "孟"}]},
)


def synthdog(folder: Path, splits: tuple[str, ...] = ("train", "validation", "test")) -> Path:
    """Pages and documents in splits."""
    for split in splits:
        lines = []
        for number, truth in enumerate(PARSES):
            name = draw(folder / split / f"image_{number}.jpg").name
            lines.append({"file_name": name, "ground_truth": donut(truth)})
        put_lines(folder / split / "metadata.jsonl", lines)
    return folder


def visual_genome(folder: Path, release: str = "1.4") -> Path:
    """Two pictures, in the keys of a release."""
    old = release == "1.0"
    image, part = ("id", "id") if old else ("image_id", None)
    rows, regions, objects, questions = [], [], [], []
    for number, place in ((1, "VG_100K_2"), (2317429, "VG_100K")):
        draw(folder / place / f"{number}.jpg")
        rows.append({image: number, "url": f"{VG_ADDRESS}/{place}/{number}.jpg", "width": 80, "height": 60})
        inside = "image" if old else "image_id"
        box = {"x": 8, "y": 6, "width": 40, "height": 30}
        regions.append(
            {
                "regions": [
                    {part or "region_id": 10 * number, inside: number, "phrase": "the clock is green in colour", **box},
                    {part or "region_id": 10 * number + 1, inside: number, "phrase": "a tree", **box, "x": 41},
                ],
                "id": number,
            }
        )
        small = {"x": 8, "y": 6, "w": 16, "h": 12}
        things = [
            {part or "object_id": 1, "names": ["window"], **small},
            {part or "object_id": 2, "names": ["tree", "trees"], **small, "w": 40},
            {part or "object_id": 3, "names": ["window"], **small, "x": 40},
        ]
        objects.append({image: number, "objects": things, **({} if old else {"image_url": rows[-1]["url"]})})
        asked = {part or "qa_id": 5 * number, inside: number, "question": "What colour is the clock?"}
        questions.append({"qas": [{**asked, "answer": "Green.", "a_objects": [], "q_objects": []}], "id": number})
    suffix = "_v1" if old else ""
    put(folder / "image_data.json", rows)
    put(folder / f"region_descriptions{suffix}.json", regions)
    put(folder / f"objects{suffix}.json", objects)
    put(folder / f"question_answers{suffix}.json", questions)
    return folder


def reference(number: int, split: str, *sentences: str) -> dict[str, Any]:
    """What a pickle of RefCOCO holds of one thing."""
    return {
        "ann_id": 100 + number,
        "category_id": 1,
        "file_name": f"COCO_train2014_{number:012d}_16.jpg",
        "image_id": number,
        "ref_id": number,
        "sent_ids": [10 * number + place for place in range(len(sentences))],
        "sentences": [
            {"raw": sentence, "sent": sentence, "sent_id": 10 * number + place, "tokens": sentence.split()}
            for place, sentence in enumerate(sentences)
        ],
        "split": split,
    }


REFERENCES = [
    reference(1, "train", "left clock", "the green one"),
    reference(2, "val", "tree on the right"),
    reference(3, "testA", "the man in red"),
]


def refcoco(folder: Path, protocol: int = 0, references: Any = None, split_by: str = "unc") -> Path:
    """``refs(unc).p`` and ``instances.json``, with the pictures in ``train2014``."""
    images, annotations = [], []
    for number in (1, 2, 3):
        name = draw(folder / "train2014" / f"COCO_train2014_{number:012d}.jpg").name
        images.append({"id": number, "file_name": name, "width": 80, "height": 60, "license": 1})
        outline = [[8.0, 6.0, 48.0, 6.0, 48.0, 36.0]]
        box = {"bbox": [8.0, 6.0, 40.0, 30.0], "segmentation": outline}
        annotations.append({"id": 100 + number, "image_id": number, "category_id": 1, **box})
    categories = [{"id": 1, "name": "clock"}]
    whole = {"info": {"version": "1.0"}, "images": images, "annotations": annotations, "categories": categories}
    put(folder / "instances.json", whole)
    data = pickle.dumps(REFERENCES if references is None else references, protocol)
    (folder / f"refs({split_by}).p").write_bytes(data)
    return folder


def book(split: int, *pairs: tuple[str, str], suffix: str = ".jpg") -> dict[str, Any]:
    """What OCR-VQA holds of a book."""
    return {
        "imageURL": f"http://ecx.images-amazon.com/images/I/51UWuO87Z{suffix}",
        "questions": [question for question, _ in pairs],
        "answers": [answer for _, answer in pairs],
        "split": split,
        "title": "Seven Poems",
        "authorName": "Li Bai",
        "genre": "Literature",
    }


def ocr_vqa(folder: Path) -> Path:
    """Four books."""
    books = {
        "0078119669": book(1, ("Who wrote this book?", "Li Bai"), ("What is the title of this book?", "Seven Poems")),
        "1579546242": book(1, ("Is this a comedy?", "No"), suffix=".gif"),
        "B000AAAAAA": book(2, ("Who wrote this book?", "Du Fu")),
        "B000BBBBBB": book(3, ("Who wrote this book?", "Wang Wei")),
    }
    for name in books:
        draw(folder / "images" / f"{name}{'.gif' if name == '1579546242' else '.jpg'}")
    put(folder / "dataset.json", books)
    return folder
