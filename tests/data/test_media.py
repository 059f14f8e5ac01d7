"""A picture is found wherever data says it is: a file, an archive's member, a URL; and nowhere else."""

from __future__ import annotations

import gc
import io
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import PIL.Image
import pytest

from tuwen.config import TuwenError
from tuwen.data.media import PictureFolder, PictureStore, fetch, picture_bytes
from tuwen.data.sample import Stored
from tuwen.data.tar_members import tar_members
from tuwen.vision import PictureError, open_picture


def png(colour: str = "teal") -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (6, 4), colour).save(stream, "PNG")
    return stream.getvalue()


def zipped(path: Path, packing: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return path


def tarred(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("make", [zipped, tarred])
def test_members_are_read_without_extracting_the_archive(make: Callable[..., Path], tmp_path: Path) -> None:
    archive = make(tmp_path / f"pictures.{'zip' if make is zipped else 'tar'}", a__1=png("red"), a__2=png("blue"))
    folder = PictureFolder(str(archive))
    found = [open_picture(fetch(folder.picture(name))).getpixel((0, 0)) for name in ("a/1", "a/2", "a/1")]
    assert found == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]
    with pytest.raises(PictureError, match=rf"{archive.name}#a/3: not in the archive"):
        fetch(folder.picture("a/3"))


def test_a_reference_may_name_the_archive_itself(tmp_path: Path) -> None:
    zipped(tmp_path / "p.zip", x=png())
    picture = PictureFolder(str(tmp_path)).picture("p.zip#x")
    assert picture == Stored(str(tmp_path / "p.zip"), "x")
    assert PictureStore(tmp_path / "out.jsonl").reference(picture) == "p.zip#x"
    assert picture_bytes(picture) == png()


def test_archives_and_pictures_on_any_store_that_fsspec_reaches() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/one.png", png("red"))
    with store.open("/bucket/all.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("two.png", png("blue"))
    assert picture_bytes(PictureFolder("memory://bucket").picture("one.png")) == png("red")
    assert picture_bytes(PictureFolder("memory://bucket/all.zip").picture("two.png")) == png("blue")
    assert picture_bytes(PictureFolder("/elsewhere").picture("memory://bucket/all.zip#two.png")) == png("blue")


@pytest.mark.parametrize(
    "reference", ["http://example.org/a.png", "https://example.org/a.zip#x", "ftp://example.org/a"]
)
def test_nothing_is_fetched_from_the_web(reference: str) -> None:
    with pytest.raises(PictureError, match="nothing is fetched from the web; download it first"):
        fetch(PictureFolder(".").picture(reference))


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "bomb.zip", bomb=bytes(80 * 2**20))
    assert archive.stat().st_size < 2**20
    found = fetch(Stored(str(archive), "bomb"))
    assert isinstance(found, bytes)
    with pytest.raises(PictureError, match="bytes; at most"):
        open_picture(found)


@pytest.mark.parametrize("data", [b"no archive", b""])
@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_a_broken_archive_is_named(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=rf"broken.{suffix}: .* a? ?whole {suffix} archive"):
        fetch(Stored(str(path), "x"))


def kinds_of_archive(home: Path) -> Iterator[Path]:
    """An archive of each kind that is read, with the members ``a`` and ``长``."""
    yield tarred(home / "plain.tar", a=png(), 长=png("red"))
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield zipped(home / f"{packing}.zip", packing, a=png() * 20, 长=png("red"))


def test_damage_of_any_kind_gives_a_member_or_a_refusal(tmp_path: Path) -> None:
    chance = random.Random(0)
    refused = 0
    for number, whole in enumerate(list(kinds_of_archive(tmp_path)) * 80):
        data = bytearray(whole.read_bytes())
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.choice((0, 255, chance.randrange(256)))
        damaged = tmp_path / f"{number}{whole.suffix}"
        damaged.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        for name in ("a", "长"):
            try:
                assert isinstance(fetch(Stored(str(damaged), name)), bytes)
            except PictureError as error:
                refused += error.reason == "missing_picture" and "\n" not in str(error)
    assert refused > 300


def test_an_archive_that_is_encrypted_is_said_so(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", a=png())
    data = bytearray(path.read_bytes())
    for mark in (b"PK\3\4", b"PK\1\2"):
        # A bit of the flags says so, in the member's header and in the archive's list.
        data[data.index(mark) + (6 if mark == b"PK\3\4" else 8)] |= 1
    path.write_bytes(data)
    with pytest.raises(PictureError, match=r"x\.zip#a: cannot be unpacked \(.*encrypted, password required"):
        fetch(Stored(str(path), "a"))


def test_members_of_an_archive_are_not_kept(tmp_path: Path) -> None:
    path = tarred(tmp_path / "x.tar", **{str(number): b"" for number in range(300)})
    gc.collect()
    with path.open("rb") as file:
        members = tar_members(file, "x")
        for _ in range(299):
            next(members)
        assert sum(type(one) is tarfile.TarInfo for one in gc.get_objects()) < 10


def test_pictures_that_are_no_files_are_saved_once_under_their_content(tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "out.jsonl")
    first = store.reference(png())
    assert store.reference(png()) == first
    assert (tmp_path / first).read_bytes() == png()
    assert store.reference(tmp_path / "sub" / "a.png") == "sub/a.png"
    assert store.reference(Path("/elsewhere/a.png")) == "/elsewhere/a.png"


def test_a_data_url_that_is_not_base64_is_said_so() -> None:
    folder = PictureFolder(".")
    assert folder.picture("data:image/png;base64,aGk=") == b"hi"
    for wrong in ("data:image/png,x", "data:image/png;base64,a!"):
        with pytest.raises(TuwenError, match="picture 'data:image/png"):
            folder.picture(wrong)
