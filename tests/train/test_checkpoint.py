"""What a checkpoint promises: it comes back as it was, and one that is whole is there whatever happens."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from tuwen.config import TuwenError
from tuwen.train.keeping.checkpoint import Checkpoint, SavedCheckpoint, base_digest, open_checkpoint
from tuwen.train.keeping.checkpoint_store import Checkpoints
from tuwen.train.keeping.files import TYPE_NAMES, FileLayer

STAGES = ("pretrain", "align")


def make(stage: str, step: int, run: int = 0) -> Checkpoint:
    """A checkpoint whose contents tell where it is from."""
    generator = torch.Generator().manual_seed(step + 1000 * run)
    tensors = {
        "trained": {"weight": torch.randn(40, 3, generator=generator), "bias": torch.full((3,), float(step))},
        "optimizer": {"weight.exp_avg": torch.randn(40, 3, generator=generator).bfloat16(), "step": torch.tensor(step)},
    }
    return Checkpoint(stage, step, tensors, {"run": run, "seconds": step / 3, "task": "图文"})


def same(saved: SavedCheckpoint | None, expected: Checkpoint) -> bool:
    if saved is None or (saved.stage, saved.step, saved.state) != (expected.stage, expected.step, expected.state):
        return False
    assert set(saved.files) == set(expected.tensors)
    for file, tensors in expected.tensors.items():
        found = saved.load(file)
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)
    return True


def fill(folder: Path, *checkpoints: Checkpoint, keep: int = 0, files: FileLayer | None = None) -> None:
    with Checkpoints(folder, STAGES, keep=keep, asynchronous=False, files=files) as store:
        for checkpoint in checkpoints:
            store.save(checkpoint)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Killed(BaseException):
    """Nothing of this process happens after it."""


class Faults(FileLayer):
    """A disk that fails at its ``at``-th change: before it, after it, or with ``torn`` bytes of a file written.

    With ``killed`` the process ends there, and what it would have done next never happens; otherwise the disk is full,
    and works again afterwards. What happens is in ``log``; nothing is flushed, as it is a kill and no power cut.
    """

    def __init__(self, at: int = -1, *, after: bool = False, torn: int | None = None, killed: bool = True) -> None:
        self.at, self.after, self.torn, self.killed = at, after, torn, killed
        self.log: list[tuple[str, str]] = []
        self.dead = False

    def done(self, kind: str) -> bool:
        """Whether a change of this kind has been made."""
        return kind in [kind for kind, _ in self.log[: self.at + self.after]]

    def _fail(self) -> None:
        self.dead = self.killed
        if self.killed:
            raise Killed
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _do(self, kind: str, path: Path, change: Callable[[], object]) -> None:
        if self.dead:
            raise Killed
        now = len(self.log) == self.at
        self.log.append((kind, path.name))
        if now and not self.after:
            self._fail()
        change()
        if now:
            self._fail()

    def make_folder(self, path: Path) -> None:
        self._do("make_folder", path, path.mkdir)

    def write(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
        data = b"".join(chunks)
        if len(self.log) == self.at and self.torn is not None and not self.dead:
            path.write_bytes(data[: self.torn])
        self._do("write", path, lambda: path.write_bytes(data))

    def flush_folder(self, path: Path) -> None:
        self._do("flush_folder", path, lambda: None)

    def rename(self, old: Path, new: Path) -> None:
        assert not new.exists()
        self._do("rename", new, lambda: old.rename(new))

    def remove(self, path: Path) -> None:
        def remove() -> None:
            FileLayer().remove(path)

        if len(self.log) == self.at and self.torn is not None and not self.dead:
            next(file for file in sorted(path.iterdir())).unlink()
        self._do("remove", path, remove)


# What is on the disk, and what is saved over it with ``keep=2``.
SCENES = {
    "the first of all": ([], make("pretrain", 5)),
    "the oldest goes": ([make("pretrain", 5), make("pretrain", 10)], make("align", 5)),
    "the same step again": ([make("pretrain", 5), make("pretrain", 10)], make("pretrain", 10, run=1)),
    "the run went back": ([make("pretrain", 5), make("pretrain", 20), make("align", 1)], make("pretrain", 10, run=1)),
}


def every_fault(folder: Path, scene: str, *, killed: bool) -> Iterator[tuple[Path, Faults]]:
    """A folder as it was before for each way in which saving over it may fail."""
    before, new = SCENES[scene]
    dry = Faults()
    fill(folder / "dry", *before, files=Faults())
    fill(folder / "dry", new, keep=2, files=dry)
    assert dry.log
    for at, (kind, _) in enumerate(dry.log):
        layers = [Faults(at, killed=killed), Faults(at, killed=killed, after=True)]
        if kind in ("write", "remove"):
            layers += [Faults(at, killed=killed, torn=torn) for torn in (0, 9, 200)]
        for number, layer in enumerate(layers):
            place = folder / f"{at}-{number}"
            fill(place, *before, files=Faults())
            yield place, layer


@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_any_change_of_the_disk_the_old_or_the_new_is_there(scene: str, tmp_path: Path) -> None:
    before, new = SCENES[scene]
    for folder, layer in every_fault(tmp_path, scene, killed=True):
        with pytest.raises(Killed):
            fill(folder, new, keep=2, files=layer)
        said: list[str] = []
        with Checkpoints(folder, STAGES, keep=2, asynchronous=False, say=said.append, files=Faults()) as store:
            found = store.latest()
            assert not [line for line in said if "broken" in line], "no half of one is taken for a checkpoint"
            if not same(found, new):
                assert same(found, before[-1]) if before else found is None
                # It has its name; only what the run has gone back behind may still be newer.
                assert not layer.done("rename") or scene == "the run went back"
            # The run goes on, to where it was and beyond.
            store.save(new)
            assert same(store.latest(), new)
            store.save(make("align", 50))
            assert same(store.latest(), make("align", 50))
        assert names(folder) == sorted(["align-000050", f"{new.stage}-{new.step:06d}"])


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_full_disk_ends_in_one_line_and_leaves_what_was_there(scene: str, asynchronous: bool, tmp_path: Path) -> None:
    before, new = SCENES[scene]
    for folder, layer in every_fault(tmp_path, scene, killed=False):
        with pytest.raises(TuwenError) as raised:  # noqa: SIM117
            with Checkpoints(folder, STAGES, keep=2, asynchronous=asynchronous, files=layer) as store:
                store.save(new)
        line = str(raised.value)
        assert line.startswith(str(folder))
        assert "No space left on device" in line
        assert "\n" not in line
        whole = list(folder.glob("[!.]*"))
        assert all(open_checkpoint(path) for path in whole)
        if "older checkpoints are as they were" in line:
            assert not list(folder.glob(".*")), "nothing half-written takes up room"
            assert {f"{there.stage}-{there.step:06d}" for there in before} <= {path.name for path in whole}
        # There is room again.
        with Checkpoints(folder, STAGES, keep=2, asynchronous=asynchronous, files=Faults()) as store:
            store.save(new)
            assert same(store.latest(), new)
        assert not list(folder.glob(".*"))


def test_a_disk_that_takes_no_more_bytes(tmp_path: Path) -> None:
    fill(tmp_path, make("pretrain", 5))
    large = Checkpoint("pretrain", 10, {"trained": {"weight": torch.zeros(1 << 20)}}, {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(tmp_path, STAGES) as store:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
            path = store.save(large)
            with pytest.raises(TuwenError) as raised:
                store.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert str(raised.value) == f"{path}: cannot be written (File too large); older checkpoints are as they were"
        assert names(tmp_path) == ["pretrain-000005"]
        store.save(large)
        assert same(store.latest(), large)


KILLED_RUN = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from tuwen.train.keeping.checkpoint import Checkpoint
from tuwen.train.keeping.checkpoint_store import Checkpoints

folder, draw = Path(sys.argv[1]), random.Random(5)

def go_on(asynchronous):
    store = Checkpoints(folder, ["only"], keep=2, asynchronous=asynchronous)
    found = store.latest()
    step = found.state["step"] if found else 0
    weight = found.load("trained")["weight"] if found else torch.zeros(100_000)
    while True:
        weight += 1
        step += 1
        # Each second one is a step that is there already.
        store.save(Checkpoint("only", step - step % 2, {"trained": {"weight": weight}}, {"step": step}))

for round in range(24):
    child = os.fork()
    if not child:
        go_on(asynchronous=round % 2 == 0)
    time.sleep(draw.uniform(0.005, 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = []
    found = Checkpoints(folder, ["only"], asynchronous=False, say=said.append).latest()
    step = found.state["step"] if found else 0
    whole = found is None or found.load("trained")["weight"].unique().tolist() == [float(found.state["step"])]
    print(round, whole, step, any("broken" in line for line in said))
"""


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_always_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_RUN, str(tmp_path / "checkpoints")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr
    rounds = [line.split() for line in result.stdout.splitlines()]
    assert len(rounds) == 24
    assert all(whole == "True" and broken == "False" for _, whole, _, broken in rounds), result.stdout
    steps = [int(step) for _, _, step, _ in rounds]
    assert steps == sorted(steps), "nothing that was there is lost"
    assert steps[-1] > 24


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[str, object]] = []
    fsync, rename = os.fsync, Path.rename

    def flushed(descriptor: int) -> None:
        log.append(("flush", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> Path:
        log.append(("rename", new.name))
        return rename(old, new)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)
    fill(tmp_path, make("pretrain", 5), make("pretrain", 5, run=1))
    place = log.index(("rename", "pretrain-000005.2"))
    own = [("flush", path.stat().st_ino) for path in (tmp_path / "pretrain-000005").iterdir()]
    assert len(own) == 4
    assert set(own) <= set(log[:place])
    assert log[place - 1] == ("flush", (tmp_path / "pretrain-000005").stat().st_ino)
    # The old one is touched when the new one's name cannot be lost any more.
    assert log[place + 1] == ("flush", tmp_path.stat().st_ino)
    assert log[-1] == ("flush", tmp_path.stat().st_ino)


SHAPES = st.lists(st.integers(0, 5), max_size=3)
FILES = st.dictionaries(
    st.text("abcXYZ09_-", min_size=1, max_size=8),
    st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(SHAPES, st.sampled_from(sorted(TYPE_NAMES, key=str)))),
    max_size=3,
)


@settings(max_examples=40)
@given(described=FILES, asynchronous=st.booleans())
def test_every_tensor_comes_back_bit_by_bit(
    described: dict[str, dict[str, tuple[list[int], torch.dtype]]], asynchronous: bool
) -> None:
    def bits(tensor: Tensor) -> Tensor:
        return tensor.reshape(-1).view(torch.uint8)

    tensors: dict[str, dict[str, Tensor]] = {}
    for file, contents in described.items():
        tensors[file] = {}
        for name, (shape, dtype) in contents.items():
            size = math.prod(shape) * dtype.itemsize
            plain = torch.randint(0, 2 if dtype == torch.bool else 256, (size,), dtype=torch.uint8).view(dtype)
            # Not in the order in which it lies in memory.
            tensors[file][name] = plain.reshape(shape[::-1]).permute(tuple(range(len(shape)))[::-1])
    with TemporaryDirectory() as folder, Checkpoints(Path(folder), ["one"], asynchronous=asynchronous) as store:
        path = store.save(Checkpoint("one", 1, tensors, {}))
        found = store.latest()
        assert found is not None
        assert found.path == path
        for file, expected in tensors.items():
            loaded = found.load(file)
            # The library's own reader agrees.
            assert load_file(path / f"{file}.safetensors").keys() == loaded.keys() == expected.keys()
            for name, tensor in expected.items():
                assert (loaded[name].shape, loaded[name].dtype) == (tensor.shape, tensor.dtype)
                assert torch.equal(bits(loaded[name]), bits(tensor))


def test_training_may_go_on_while_it_is_written(tmp_path: Path) -> None:
    weight, bias = torch.nn.Parameter(torch.ones(1 << 20)), torch.ones(3)
    with Checkpoints(tmp_path, STAGES, keep=0) as store:
        for step in range(1, 4):
            store.save(Checkpoint("align", step, {"trained": {"weight": weight, "bias": bias}}, {}))
            with torch.no_grad():
                weight.add_(1)
            bias = torch.zeros(3 + step)
    for step in range(1, 4):
        trained = open_checkpoint(tmp_path / f"align-{step:06d}").load("trained")
        assert trained["weight"].unique().tolist() == [step]
        assert trained["bias"].numel() == (3 if step == 1 else 2 + step)


def test_loaded_tensors_outlive_their_folder(tmp_path: Path) -> None:
    fill(tmp_path, make("align", 5))
    saved = open_checkpoint(tmp_path / "align-000005")
    trained = saved.load("trained")
    # Tensors that still lay in the file would change with it.
    path = saved.path / "trained.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(trained["weight"], make("align", 5).tensors["trained"]["weight"])


def test_the_newest_is_of_the_last_stage_whatever_its_name(tmp_path: Path) -> None:
    steps = [("pretrain", 999_999), ("pretrain", 1_000_000), ("align", 5)]
    fill(tmp_path, *[make(stage, step) for stage, step in steps], keep=2)
    assert names(tmp_path) == ["align-000005", "pretrain-1000000"]
    with Checkpoints(tmp_path, STAGES) as store:
        assert same(store.latest(), make("align", 5))
    with Checkpoints(tmp_path, STAGES[::-1]) as store:
        assert same(store.latest(), make("pretrain", 1_000_000))


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_as_many_stay_as_were_asked_for(keep: int, tmp_path: Path) -> None:
    fill(tmp_path, *[make("align", step) for step in range(1, 6)], keep=keep)
    assert names(tmp_path) == [f"align-{step:06d}" for step in range(6 - (keep or 5), 6)]


def test_what_lies_after_the_new_one_goes_and_is_named(tmp_path: Path) -> None:
    fill(tmp_path, *[make("align", step) for step in (10, 20, 30)])
    said: list[str] = []
    with Checkpoints(tmp_path, STAGES, keep=5, say=said.append) as store:
        store.save(make("align", 15, run=1))
    assert names(tmp_path) == ["align-000010", "align-000015"]
    assert [line.partition(":")[0] for line in said] == [f"{tmp_path}/align-0000{step}" for step in (20, 30)]


def test_a_broken_one_is_named_and_the_one_before_is_taken(tmp_path: Path) -> None:
    fill(tmp_path, make("pretrain", 5), make("pretrain", 10), make("align", 5))
    (tmp_path / "align-000005" / "manifest.json").unlink()
    weights = tmp_path / "pretrain-000010" / "trained.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    said: list[str] = []
    with Checkpoints(tmp_path, STAGES, say=said.append) as store:
        assert same(store.latest(), make("pretrain", 5))
        end = "; this checkpoint is broken, going back to the one before"
        assert said == [
            f"{tmp_path}/align-000005/manifest.json: this file is missing{end}",
            f"{weights}: is not what was written, its SHA-256 differs from the manifest's{end}",
        ]
        # Broken ones are not among those that stay.
        store.save(make("pretrain", 15))
    assert names(tmp_path) == ["pretrain-000005", "pretrain-000015"]


def test_what_one_process_has_verified_others_open_quickly_but_not_blindly(tmp_path: Path) -> None:
    fill(tmp_path, make("align", 5))
    path = tmp_path / "align-000005"
    assert same(open_checkpoint(path, verify=False), make("align", 5))
    size = (path / "optimizer.safetensors").stat().st_size
    os.truncate(path / "optimizer.safetensors", 100)
    with pytest.raises(TuwenError, match=f"optimizer.safetensors: has 100 bytes, {size} were written"):
        open_checkpoint(path, verify=False)


@settings(max_examples=60)
@given(data=st.data())
def test_damage_anywhere_is_found(data: st.DataObject) -> None:
    with TemporaryDirectory() as root:
        folder = Path(root)
        fill(folder, make("align", 5), make("align", 10), files=Faults())
        new = folder / "align-000010"
        file = new / data.draw(st.sampled_from(names(new)))
        whole = file.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        damage = data.draw(st.sampled_from(["cut", "lost", "changed", "zeros", "longer"]))
        changed = bytes([whole[place] ^ 1 << data.draw(st.integers(0, 7))])
        if damage == "lost":
            file.unlink()
        else:
            file.write_bytes(
                {
                    "cut": whole[:place],
                    "changed": whole[:place] + changed + whole[place + 1 :],
                    "zeros": whole[:place] + bytes(len(whole) - place),
                    "longer": whole + b"\0",
                }[damage]
            )
        with Checkpoints(folder, STAGES, asynchronous=False) as store:
            found = store.latest()
        # A space for a line's end in the manifest does no harm.
        harmless = file.name == "manifest.json" and same(found, make("align", 10))
        assert harmless or same(found, make("align", 5))


def test_a_run_with_broken_checkpoints_alone_does_not_start_anew_by_itself(tmp_path: Path) -> None:
    fill(tmp_path, make("align", 5))
    (tmp_path / "align-000005" / "state.json").write_text("{}", encoding="utf-8")
    with Checkpoints(tmp_path, STAGES) as store, pytest.raises(TuwenError, match="all 1 are broken"):
        store.latest()
    with Checkpoints(tmp_path / "fresh" / "run", STAGES) as store:
        assert store.latest() is None


def test_a_checkpoint_under_the_name_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    fill(tmp_path, make("align", 5), make("align", 10))
    (tmp_path / "align-000010").rename(tmp_path / "align-000020")
    said: list[str] = []
    with Checkpoints(tmp_path, STAGES, say=said.append) as store:
        assert same(store.latest(), make("align", 5))
    assert "its state.json is of align, step 10" in said[0]
    # Whoever names it himself may call it what he likes.
    assert same(open_checkpoint(tmp_path / "align-000020"), make("align", 10))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda manifest: manifest.update(format=2), "format is 2, this version of Tuwen reads 1"),
        (lambda manifest: manifest.pop("files"), "files: expected names with bytes and sha256"),
        (lambda manifest: manifest["files"].pop("state.json"), "files: state.json is not among them"),
        (
            lambda manifest: manifest["files"].update({"../x.safetensors": {"bytes": 0, "sha256": ""}}),
            "files: '../x.safetensors' is not the name of a file of a checkpoint",
        ),
        (
            lambda manifest: manifest["files"].update({"x.pt": {"bytes": 0, "sha256": ""}}),
            "files: 'x.pt' is not the name of a file of a checkpoint",
        ),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    damage: Callable[[dict[str, object]], object], reason: str, tmp_path: Path
) -> None:
    fill(tmp_path, make("align", 5))
    path = tmp_path / "align-000005" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    damage(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(TuwenError) as raised:
        open_checkpoint(path.parent)
    assert str(raised.value) == f"{path}: {reason}"


def test_a_path_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "manifest.json: this file is missing"), (tmp_path / "no", "no such checkpoint")):
        with pytest.raises(TuwenError, match=reason):
            open_checkpoint(path)
    fill(tmp_path, make("align", 5))
    with pytest.raises(TuwenError, match=r"ema.safetensors: this checkpoint has no such file; it has trained, opt"):
        open_checkpoint(tmp_path / "align-000005", verify=False).load("ema")


def test_what_is_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, make("align", 5))
    (tmp_path / "earlier-000005").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes-000001").write_text("mine", encoding="utf-8")
    (tmp_path / ".align-000007~0123abcd").mkdir()
    said: list[str] = []
    with Checkpoints(tmp_path, STAGES, keep=1, say=said.append) as store:
        assert same(store.latest(), make("align", 5))
        store.save(make("align", 6))
    assert names(tmp_path) == [".cache", "align-000006", "earlier-000005", "notes-000001"]
    assert "left behind by a run that was killed" in said[0]
    assert "the recipe has no stage 'earlier'" in said[1]


@pytest.mark.parametrize(
    "state", [{"loss": math.nan}, {"loss": [math.inf]}, {"place": (1, 2)}, {"seen": {1: 2}}, {"path": Path("x")}]
)
def test_a_state_that_would_not_come_back_is_refused_before_anything_is_written(
    state: dict[str, object], tmp_path: Path
) -> None:
    with Checkpoints(tmp_path, STAGES) as store, pytest.raises(ValueError, match=f"state: {next(iter(state))}: "):
        store.save(Checkpoint("align", 1, {}, state))
    assert not names(tmp_path)


def test_a_tensor_that_would_not_come_back_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Shard(Tensor):
        pass

    plain = torch.ones(2)
    wrong = [plain.as_subclass(Shard), plain.to_sparse(), plain.to("meta"), torch.tensor(1j)]
    with Checkpoints(tmp_path, STAGES) as store:
        for tensor in wrong:
            with pytest.raises(TypeError, match="trained: weight: "):
                store.save(Checkpoint("align", 1, {"trained": {"weight": tensor}}, {}))
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            store.save(Checkpoint("align", 1, {"../trained": {}}, {}))
    assert not names(tmp_path)


def test_a_failure_in_the_background_is_raised_once_and_hides_nothing(tmp_path: Path) -> None:
    # The first change is the folder of the first checkpoint.
    store = Checkpoints(tmp_path, STAGES, files=Faults(0, killed=False))
    store.save(make("align", 1))
    with pytest.raises(TuwenError, match="align-000001: cannot be written"):
        store.save(make("align", 2))
    store.save(make("align", 2))
    store.close()
    assert names(tmp_path) == ["align-000002"]
    with pytest.raises(KeyError) as raised:  # noqa: PT012, SIM117
        with Checkpoints(tmp_path, STAGES, files=Faults(0, killed=False)) as store:
            store.save(make("align", 3))
            raise KeyError("the loop")
    assert "align-000003: cannot be written" in raised.value.__notes__[0]


def test_the_base_is_known_by_its_digest() -> None:
    base = {"b": torch.randn(30, 50), "a": torch.randn(7).bfloat16(), "scale": torch.tensor(1.5), "none": torch.ones(0)}
    digest = base_digest(base.items())
    assert digest == base_digest(reversed(base.items()))
    assert digest == base_digest({**base, "b": base["b"].T.contiguous().T}.items())
    others = [
        {**base, "b": base["b"] + 1e-3},
        {**base, "b": base["b"].T},
        {**base, "b": base["b"].index_fill(0, torch.tensor(29), 0.0)},
        {**base, "a": base["a"].half()},
        {**base, "a": base["a"].index_fill(0, torch.tensor(3), 0.0)},
        {**base, "scale": torch.tensor(1.25)},
        {**base, "none": torch.ones(0, 1)},
        {name: tensor for name, tensor in base.items() if name != "a"},
        {("c" if name == "b" else name): tensor for name, tensor in base.items()},
    ]
    digests = {base_digest(other.items()) for other in others}
    assert len(digests) == len(others)
    assert digest not in digests
