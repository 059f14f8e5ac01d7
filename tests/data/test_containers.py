"""Records lie in files of every kind as they were put there; what is broken is said, and nothing else is lost."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_formats import PLAIN, plain, png
from tuwen.chat.messages import Message
from tuwen.config import TuwenError
from tuwen.data.containers import arrow_rows, parquet
from tuwen.data.containers.base import CONTAINERS, Columns, Container, Record
from tuwen.data.dataset import open_data, write_data
from tuwen.data.sample import Sample

WHERE = [("tuwen", ".jsonl"), ("tuwen", ".json"), ("tuwen", ".parquet"), ("tuwen", ".arrow"), ("tuwen", ".tar")]
WHERE += [("caption", ".csv"), ("caption", ".tsv")]


def some(count: int) -> list[Sample]:
    """Samples about different pictures."""
    colours = ["red", "gold", "blue", "pink"]
    return [
        Sample(id=f"s{number}", messages=PLAIN.messages, images=(png(colours[number % 4]) + bytes([number % 256]),))
        for number in range(count)
    ]


def read(container: Container, file: Path | str) -> list[Record]:
    """All records of a file, each of which is found by its place, too."""
    found = list(container.scan(str(file)))
    shuffled = list(found)
    random.Random(1).shuffle(shuffled)
    for offset, length, record in shuffled:
        assert not isinstance(record, TuwenError), record
        assert container.fetch(str(file), offset, length) == record
    places = [offset for offset, _, _ in found]
    assert places == sorted(set(places)), "the order of places is the order of records"
    return [record for _, _, record in found if not isinstance(record, TuwenError)]


def problems(container: Container, file: Path) -> tuple[list[str], list[str]]:
    """What is read as far as it can be, by its id, and what is said, in a line each."""
    names: list[str] = []
    said: list[str] = []
    try:
        for _, _, record in container.scan(str(file)):
            if isinstance(record, TuwenError):
                said.append(str(record))
            else:
                names.append(str(record["id"]))
    except TuwenError as error:
        said.append(str(error))
    assert all(str(file) in line and "\n" not in line for line in said)
    return names, said


# --- all of them ---


@pytest.mark.parametrize(("format", "suffix"), WHERE)
def test_data_at_a_url_is_the_same_as_on_this_machine(format: str, suffix: str, tmp_path: Path) -> None:
    made = some(5)
    write_data(made, tmp_path / f"data{suffix}", format=format, pack=True)
    home = f"memory://test_containers/{suffix[1:]}"
    url = f"{home}/data{suffix}"
    fsspec.filesystem("memory").pipe(url, (tmp_path / f"data{suffix}").read_bytes())
    dataset = open_data(url)
    entries = list(dataset.scan())
    assert [entry.sample and plain(entry.sample) for entry in entries] == [plain(sample) for sample in made]
    for entry in reversed(entries):
        assert dataset.sample(entry.place) == entry.sample
    assert [sample.id for sample in open_data(home)] == [sample.id for sample in made]


@pytest.mark.parametrize(("format", "suffix"), WHERE)
def test_a_file_that_was_written_anew_is_read_anew(format: str, suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"data{suffix}"
    for count in (3, 7):
        write_data(some(count)[::-1], out, format=format, pack=True)
        dataset = open_data(out)
        places = [entry.place for entry in dataset.scan()]
        assert [dataset.sample(place).id for place in places] == [f"s{number}" for number in reversed(range(count))]


@pytest.mark.parametrize(("format", "suffix"), WHERE)
def test_a_failure_leaves_nothing(format: str, suffix: str, tmp_path: Path) -> None:
    def samples() -> Iterator[Sample]:
        yield from some(3)
        raise TuwenError("the fourth is broken")

    with pytest.raises(TuwenError, match="the fourth is broken"):
        write_data(samples(), tmp_path / f"data{suffix}", format=format, pack=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv"])
def test_text_that_is_no_unicode_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    broken = Sample(id="half", messages=PLAIN.messages, images=(png(),), source="\ud83d")
    with pytest.raises(TuwenError, match="^'half': its text holds half a surrogate pair"):
        write_data([*some(2), broken], tmp_path / f"x{suffix}", format="caption", pack=True)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".tar"])
@settings(max_examples=25)
@given(data=st.data())
def test_a_file_that_was_cut_off_gives_what_is_whole_and_says_so(suffix: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as home:
        whole, cut = Path(home, f"whole{suffix}"), Path(home, f"cut{suffix}")
        write_data(some(6), whole, pack=True)
        content = whole.read_bytes()
        # An archive is padded with zeros, of which nothing is missed.
        content = content.rstrip(b"\0") if suffix == ".tar" else content
        cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        names, said = problems(CONTAINERS.get(suffix[1:])(), cut)
        assert names == [f"s{number}" for number in range(len(names))]
        assert len(said) == 1
        assert "whole" in said[0] or "cut off" in said[0]


# --- tables ---

CELLS = st.lists(
    st.sampled_from(["\n", "\r\n", "\r", "\t", '"', '""', ",", ";", "|", " ", "\ufeff", "\0", "1", "好"])
    | st.text(st.characters(codec="utf-8"), max_size=5),
    max_size=4,
).map("".join)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@settings(max_examples=80)
@given(rows=st.lists(st.tuples(CELLS.filter(str.strip), CELLS, CELLS), min_size=1, max_size=5))
def test_cells_are_what_they_were(suffix: str, rows: list[tuple[str, str, str]]) -> None:
    table: Container = CONTAINERS.get("table")()
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, f"data{suffix}")
        records = [dict(zip(("id", "a", "b c"), row, strict=True)) for row in rows]
        columns = Columns({"id": "text", "a": "text", "b c": "text"}, name=file.name)
        assert table.write(records, file, columns) == len(rows)
        expected = [{key: cell for key, cell in record.items() if cell} for record in records]
        assert read(table, file) == expected
        # Others read it as we do, and we read what they write.
        sign = "," if suffix == ".csv" else "\t"
        with file.open(encoding="utf-8", newline="") as stream:
            assert list(csv.reader(stream, delimiter=sign))[1:] == [list(row) for row in rows]
        for quoting, end in ((csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_NONNUMERIC, "\n")):
            with file.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, delimiter=sign, quoting=quoting, lineterminator=end)
                writer.writerows([("id", "a", "b c"), *rows])
            os.utime(file, ns=(quoting, quoting))
            assert read(table, file) == expected


def test_rows_that_are_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    long = "x,\n" * 500_000
    out = tmp_path / "x.csv"
    out.write_text(f'id,text\n1,"{long}"\n2,short\n3,"{long}""\n"\n', encoding="utf-8")
    found = read(CONTAINERS.get("table")(), out)
    assert [(row["id"], len(row["text"])) for row in found] == [("1", len(long)), ("2", 5), ("3", len(long) + 2)]


def test_quotes_that_are_none(tmp_path: Path) -> None:
    lines = [
        '"Wow" he said\thttp://x.org/1',
        "6'1\" tall\thttp://x.org/2",
        '"open\thttp://x.org/3',
        'done"\thttp://x.org/4',
    ]
    (tmp_path / "x.tsv").write_text("\n".join(lines), encoding="utf-8")
    found = read(CONTAINERS.get("table")(), tmp_path / "x.tsv")
    assert [f"{row['0']}\t{row['1']}" for row in found] == lines
    (tmp_path / "x.csv").write_text('id,text\n1,"Wow" he said\n2,"open\n3,"a ""b"""\n', encoding="utf-8")
    found = read(CONTAINERS.get("table")(), tmp_path / "x.csv")
    assert [row["text"] for row in found] == ['"Wow" he said', '"open', 'a "b"']


def test_broken_rows_are_said_and_the_others_read(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes("id,text\n1,a\n2,b,c\n\n3,\xe4\xbd\xa0\n".encode("latin-1") + b"4,\xc4\xe3\n5,d\n")
    names, said = problems(CONTAINERS.get("table")(), file)
    assert names == ["1", "3", "5"]
    assert said == [
        f"{file}: row 2: 3 cells; expected 2 (id, text)",
        f"{file}: row 4: not UTF-8; convert the file first, e.g. iconv -f gb18030 -t utf-8",
    ]


# --- parquet and arrow ---


def turns(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": "好"}]


def hugging_face(count: int) -> pa.Table:
    """A table as `datasets` writes it: nested turns, and pictures with bytes or paths."""
    return pa.table(
        {
            "id": pa.array([f"h{number}" for number in range(count)]),
            "messages": pa.array([turns(f"<image>{number}?") for number in range(count)]),
            "images": pa.array(
                [[{"bytes": png() if number % 2 else None, "path": f"{number}.png"}] for number in range(count)],
                pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ),
            "nothing": pa.nulls(count, pa.string()),
            "number": pa.array(range(count), pa.int8()),
        }
    )  # fmt: skip


def check_hugging_face(place: Path | str, count: int) -> None:
    """Make sure that ``hugging_face`` is read."""
    dataset = open_data(place)
    assert dataset.format.name == "swift"
    entries = list(dataset.scan())
    assert [entry.sample and entry.sample.messages[0].text for entry in entries] == [f"{n}?" for n in range(count)]
    first, second = entries[0].sample, entries[1].sample
    assert first is not None
    assert second is not None
    assert (str(first.images[0]).rpartition("/")[2], second.images[0]) == ("0.png", png())
    assert [dataset.sample(entry.place) for entry in entries] == [entry.sample for entry in entries]


def test_tables_of_hugging_face(tmp_path: Path) -> None:
    table = hugging_face(7)
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=3)
    check_hugging_face(tmp_path / "x.parquet", 7)
    record = read(CONTAINERS.get("parquet")(), tmp_path / "x.parquet")[0]
    assert record["images"] == [{"path": "0.png"}]
    assert record["number"] == 0
    assert "nothing" not in record
    for name, new in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        with pa.OSFile(str(tmp_path / f"{name}.arrow"), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
        check_hugging_face(tmp_path / f"{name}.arrow", 7)


def saved(home: Path, count: int) -> Path:
    """A folder as ``save_to_disk`` leaves it, with two files."""
    home.mkdir(parents=True)
    names = [f"data-0000{number}-of-00002.arrow" for number in range(2)]
    table = hugging_face(count)
    for name, part in zip(names, (table.slice(0, count // 2), table.slice(count // 2)), strict=True):
        with pa.OSFile(str(home / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(part, max_chunksize=2)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "f", "_split": None}
    (home / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (home / "dataset_info.json").write_text("{}", encoding="utf-8")
    return home


def test_a_folder_of_datasets(tmp_path: Path) -> None:
    home = saved(tmp_path / "all/train", 7)
    check_hugging_face(home, 7)
    (tmp_path / "all/dataset_dict.json").write_text('{"splits": ["train", "test"]}', encoding="utf-8")
    with pytest.raises(TuwenError) as error:
        open_data(tmp_path / "all")
    assert str(error.value) == f"{tmp_path}/all: holds the splits train, test; name one, e.g. {tmp_path}/all/train"
    (home / "state.json").write_text('{"_data_files": [{"filename": "../../secret.arrow"}]}', encoding="utf-8")
    with pytest.raises(TuwenError, match="_data_files: expected names of files beside it, found"):
        open_data(home)


def test_datasets_itself_agrees(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    made = datasets.Dataset(hugging_face(5))
    made.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    check_hugging_face(tmp_path / "saved", 5)
    write_data([PLAIN], tmp_path / "x.arrow", format="caption", pack=True)
    (row,) = datasets.Dataset.from_file(str(tmp_path / "x.arrow"))
    assert row["image"].size == (6, 4)
    write_data([PLAIN], tmp_path / "x.parquet", pack=True)
    (row,) = datasets.Dataset.from_parquet(str(tmp_path / "x.parquet"), cache_dir=str(tmp_path / "cache"))
    assert row["images"][0].size == (6, 4)


def test_conversations_as_json_text(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    table = pa.table({"image": [png(), png()], "conversations": [json.dumps(turns), "no JSON"]})
    pq.write_table(table, tmp_path / "x.parquet")
    first, second = open_data(tmp_path / "x.parquet", format="llava").scan()
    assert first.sample is not None
    assert (first.sample.messages[1].text, first.sample.images) == ("a", (png(),))
    assert (
        str(second.error) == f"{tmp_path}/x.parquet: record 1: conversations: this key is required and must be a list"
    )


def test_row_groups_larger_than_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "KEPT_BYTES", 2000)
    table = pa.table({"id": [f"{n}" for n in range(200)], "data": [bytes([n]) * 100 for n in range(200)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=90)
    found = read(CONTAINERS.get("parquet")(), tmp_path / "x.parquet")
    assert [record["data"] for record in found] == [bytes([n]) * 100 for n in range(200)]
    with pytest.raises(TuwenError, match=r"x.parquet: row 200: not in the file, which has 200"):
        CONTAINERS.get("parquet")().fetch(str(tmp_path / "x.parquet"), 200, 1)


def test_rows_are_written_in_groups_that_are_decoded_with_ease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_rows, "BATCH_BYTES", 1000)
    write_data(some(40), tmp_path / "x.parquet", pack=True)
    metadata = pq.ParquetFile(tmp_path / "x.parquet").metadata
    assert metadata.num_row_groups > 4
    assert [sample.id for sample in open_data(tmp_path / "x.parquet")] == [f"s{number}" for number in range(40)]


def text_array(offsets: bytes, text: bytes) -> pa.Array:
    """Texts whose ends are as these bytes say."""
    size = len(offsets) // 4 - 1
    return pa.Array.from_buffers(pa.string(), size, [None, pa.py_buffer(offsets), pa.py_buffer(text)])


HOSTILE: dict[str, Callable[[], pa.Array]] = {
    "text that ends before it begins": lambda: text_array(b"\0\0\0\0\x70\0\0\0\x03\0\0\0", b"abc"),
    "text that is no UTF-8": lambda: text_array(b"\0\0\0\0\x02\0\0\0", b"\xff\xfe"),
    "more rows than bytes": lambda: pa.nulls(10**6),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_arrow_files_that_lie_are_refused(name: str, tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_arrays([HOSTILE[name]()], ["id"])
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)
    names, said = problems(CONTAINERS.get("arrow")(), tmp_path / "x.arrow")
    assert (names, len(said)) == ([], 1)
    assert said[0].startswith(f"{tmp_path}/x.arrow: not a whole arrow file (")


def test_an_arrow_file_that_leads_out_of_itself_is_not_followed(tmp_path: Path) -> None:
    file = tmp_path / "x.arrow"
    write_data([Sample(id="1234567", messages=PLAIN.messages[1:])], file)
    content = file.read_bytes()
    # Where the id begins and ends; what comes before describes the columns.
    at = content.rfind(b"\0\0\0\0\x07\0\0\0")
    file.write_bytes(content[: at + 4] + b"\xff\xff\xff\x0f" + content[at + 8 :])
    names, said = problems(CONTAINERS.get("arrow")(), file)
    assert names == []
    assert said[0].startswith(f"{file}: not a whole arrow file (")


def test_what_is_no_arrow_file_or_has_dictionaries_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.arrow").write_bytes(b"hello")
    (tmp_path / "x.parquet").write_bytes(b"hello")
    for name in ("arrow", "parquet"):
        names, said = problems(CONTAINERS.get(name)(), tmp_path / f"x.{name}")
        assert names == []
        assert said[0].startswith(f"{tmp_path}/x.{name}: not a whole {name} file (")
        with pytest.raises(TuwenError, match="cannot be read"):
            next(CONTAINERS.get(name)().scan(str(tmp_path / f"missing.{name}")))
    table = pa.table({"id": pa.array(["a", "b"]).dictionary_encode()})
    with pa.OSFile(str(tmp_path / "d.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    said = problems(CONTAINERS.get("arrow")(), tmp_path / "d.arrow")[1]
    assert said == [f"{tmp_path}/d.arrow: column id: dictionary-encoded; save it with plain values"]


# --- archives ---


def archive(path: Path, *members: tuple[str, bytes], **kinds: bytes) -> Path:
    """A tar archive; ``kinds`` gives members types of their own."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.type = kinds.get(name, tarfile.REGTYPE)
            tar.addfile(member, io.BytesIO(data))
    return path


def as_json(**values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode()


TURNS = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]


def parts(name: str) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": name, "detail": "low"}}, {"type": "text", "text": "q"}]


def test_members_with_one_name_are_one_record(tmp_path: Path) -> None:
    long = "d/" * 80 + "长" * 60
    file = archive(
        tmp_path / "x.tar",
        ("__meta__/note.json", b"{}"),
        ("./README", b"no record"),
        ("a/1.jpg", b"one"), ("a/1.txt", "说明\n".encode()), ("a/1.cls", b"7"),
        ("a/.hidden.jpg", b"no"),
        ("b/1.seg.PNG", b"mask"), ("b/1.json", as_json(id="own", k=1)),
        (f"{long}.txt", b"long"),
    )  # fmt: skip
    found = read(CONTAINERS.get("tar")(), file)
    assert found == [
        {"id": "a/1", "jpg": b"one", "txt": "说明", "cls": "7"},
        {"id": "own", "k": 1, "image": b"mask"},
        {"id": long, "txt": "long"},
    ]


def test_every_format_finds_its_pictures_in_an_archive(tmp_path: Path) -> None:
    def first(**values: Any) -> Sample:
        members = [("7.png", png()), ("7.json", as_json(**values))]
        (sample,) = open_data(archive(tmp_path / "x.tar", *members))
        return sample

    found = {
        # Named as the member, by a name of before, and not at all.
        "llava": [first(conversations=TURNS, image="7.png"), first(conversations=TURNS, image="coco/000123.jpg")],
        "llava, not named": [first(conversations=TURNS)],
        "openai": [
            first(messages=[{"role": "user", "content": parts(name)}, turns("")[1]])
            for name in ("7.png", "s3://x/y.jpg")
        ],
        "swift": [
            first(
                messages=[{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}], images=images
            )
            for images in (["7.png"], ["x/y.jpg"], [])
        ],
        "caption": [first(caption="a", url="https://x.org/b.jpg", key="7", width=6)],
    }
    for name, samples in found.items():
        for sample in samples:
            assert (name, sample.images, sample.answer in ("a", "好"), sample.id) == (name, (png(),), True, "7")


def test_pictures_and_captions_alone(tmp_path: Path) -> None:
    members = [(f"00{n}.{suffix}", data) for n in range(3) for suffix, data in (("jpg", png()), ("txt", b"A cat."))]
    dataset = open_data(archive(tmp_path / "x.tar", *members))
    assert dataset.format.name == "caption"
    assert [(sample.id, sample.answer, sample.images) for sample in dataset] == [
        (f"00{n}", "A cat.", (png(),)) for n in range(3)
    ]


def test_a_member_is_a_name_and_never_a_path(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    record = as_json(conversations=TURNS, image="../secret.png")
    members = [("../secret.png", b"harmless"), ("../secret.json", record), ("/etc/passwd.txt", b"x"), ("l.png", b"")]
    home = tmp_path / "home"
    home.mkdir()
    before = set(tmp_path.rglob("*"))
    file = archive(home / "x.tar", *members, **{"l.png": tarfile.SYMTYPE})
    first, second = read(CONTAINERS.get("tar")(), file)
    assert (first["id"], first["image"]) == ("../secret", b"harmless")
    assert second == {"id": "/etc/passwd", "txt": "x"}
    assert {*tmp_path.rglob("*")} == {*before, file}


def test_broken_members_are_said_and_the_others_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuwen.data.containers.tar.LARGEST_MEMBER", 100)
    deep = b'{"k": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    file = archive(
        tmp_path / "x.tar",
        ("1.json", b"{"), ("2.json", b"[1]"), ("3.txt", b"\xff"), ("4.jpg", b"x" * 101), ("4.txt", b"y"),
        ("5.txt", b"a"), ("5.TXT", b"b"), ("6.txt", b"good"),
    )  # fmt: skip
    names, said = problems(CONTAINERS.get("tar")(), file)
    assert names == ["6"]
    assert [line.removeprefix(f"{file}: ") for line in said] == [
        "1.json: not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "2.json: expected keys and values, found list",
        "3.txt: not UTF-8 (invalid start byte)",
        "4: its .jpg has 101 bytes; at most 100 are read",
        "5: two members 5.txt",
    ]
    monkeypatch.undo()
    names, said = problems(CONTAINERS.get("tar")(), archive(tmp_path / "y.tar", ("1.json", deep), ("2.txt", b"good")))
    assert (names, len(said)) == (["2"], 1)


def test_the_end_of_an_archive_is_looked_at(tmp_path: Path) -> None:
    whole = archive(tmp_path / "x.tar", ("1.txt", b"a"), ("2.txt", b"b")).read_bytes()
    tar: Container = CONTAINERS.get("tar")()
    file = tmp_path / "y.tar"

    def said(content: bytes) -> tuple[list[str], str]:
        file.write_bytes(content)
        names, lines = problems(tar, file)
        return names, " ".join(lines).removeprefix(f"{file}: ")

    assert said(whole) == (["1", "2"], "")
    assert said(whole[:2048]) == (["1"], "2: may have been cut off, for tar's end mark does not follow it")
    assert said(whole + whole) == (
        ["1", "2"], "more follows behind tar's end mark; give archives that were joined one by one",
    )  # fmt: skip
    broken = whole[:1024] + b"?" * 512 + whole[1536:]
    assert said(broken) == ([], "byte 1024: broken or cut off; expected a whole tar archive")
    assert said(b"") == ([], "broken or cut off (empty file); expected a whole tar archive")
    # A size below 0 leads back to where we were.
    header = bytearray(whole[:512])
    header[124:136] = b"\xff" * 10 + b"\xfa\x00"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    names, line = said(bytes(header) + whole)
    assert (names, "not a tar header" in line or "broken" in line) == ([], True)


def test_headers_that_lie_are_refused(tmp_path: Path) -> None:
    chance = random.Random(0)
    whole = archive(tmp_path / "x.tar", ("d/" * 80 + "长.txt", b"a"), ("1.jpg", b"b"), ("1.txt", b"c")).read_bytes()
    file = tmp_path / "y.tar"
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            # Sizes, kinds and what stands in a header of pax.
            block = chance.randrange(6) * tarfile.BLOCKSIZE
            data[block + chance.choice((chance.randrange(124, 136), 156, chance.randrange(40)))] = chance.randrange(256)
            data[block + 148 : block + 156] = b" " * 8
            data[block + 148 : block + 156] = f"{sum(data[block : block + 512]):06o}\0 ".encode()
        file.write_bytes(data)
        refused += bool(problems(CONTAINERS.get("tar")(), file)[1])
    assert refused > 100


def test_what_is_written_is_a_webdataset(tmp_path: Path) -> None:
    two = Sample(id="x/../y", messages=(Message.of("user", "q"), *PLAIN.messages), images=(png(),), task="t")
    write_data([two, Sample(id="t", messages=(Message.of("assistant", "a"),))], tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getnames() == ["000000000.png", "000000000.json", "000000001.json"]
        stream = tar.extractfile("000000000.json")
        assert stream is not None
        assert json.load(stream)["images"] == ["000000000.png"]
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


# --- records ---


def test_a_folder_of_several_kinds_is_asked_for(tmp_path: Path) -> None:
    write_data(some(1), tmp_path / "a.parquet", pack=True)
    (tmp_path / "readme.txt").write_text("a note", encoding="utf-8")
    assert [sample.id for sample in open_data(tmp_path)] == ["s0"]
    write_data(some(1), tmp_path / "b.tar")
    with pytest.raises(TuwenError, match=r"holds parquet and tar files; name one file, or a pattern such as \*.jsonl"):
        open_data(tmp_path)
    assert [sample.id for sample in open_data(tmp_path / "*.tar")] == ["s0"]


def test_reading_by_several_threads(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for _, suffix in WHERE[:5]:
        made = some(60)
        write_data(made, tmp_path / f"x{suffix}", pack=True)
        container: Container = CONTAINERS.get({".json": "json"}.get(suffix, suffix[1:]))()
        file = str(tmp_path / f"x{suffix}")
        places = [(offset, length, record) for offset, length, record in container.scan(file)] * 3
        random.Random(0).shuffle(places)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda place, c=container, f=file: c.fetch(f, place[0], place[1]), places))
        assert found == [record for _, _, record in places]
