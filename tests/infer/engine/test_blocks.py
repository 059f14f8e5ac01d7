"""Blocks are never lost, never given to two at a time unless shared, and never shared across salts or contents."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tuwen.infer.engine.blocks import BlockPool, PicturePlace, first_name, next_name
from tuwen.infer.engine.pictures import picture_digest

SIZE = 2
# Few tokens, salts and short prompts, so that beginnings meet.
PROMPTS = st.tuples(st.sampled_from([b"", b"a", b"b"]), st.lists(st.integers(0, 1), min_size=1, max_size=9))


def names(salt: bytes, ids: list[int]) -> list[bytes]:
    found = [first_name(salt, "")]
    for start in range(0, len(ids) - SIZE + 1, SIZE):
        found.append(next_name(found[-1], ids[start : start + SIZE], start, ()))
    return found[1:]


@given(st.lists(st.one_of(PROMPTS, st.integers(0, 20)), max_size=60), st.integers(1, 12))
@settings(max_examples=200)
def test_bookkeeping(actions: list[tuple[bytes, list[int]] | int], count: int) -> None:
    pool = BlockPool(count)
    running: list[tuple[bytes, list[int], list[int]]] = []
    written: dict[int, tuple[bytes, tuple[int, ...]]] = {}
    for action in actions:
        if isinstance(action, int):
            if running:
                pool.release(running.pop(action % len(running))[2])
            continue
        salt, ids = action
        blocks: list[int] = []
        for place, name in enumerate(names(salt, ids)):
            block = pool.share(name)
            if block is None:
                break
            assert written[block] == (salt, tuple(ids[: (place + 1) * SIZE])), "found by another's name"
            blocks.append(block)
        fresh = pool.take(-(-len(ids) // SIZE) - len(blocks))
        if fresh is None:
            pool.release(blocks)
            continue
        in_use = {block for _, _, own in running for block in own} | set(blocks)
        assert not in_use & set(fresh)
        assert len(set(fresh)) == len(fresh)
        blocks += fresh
        for place, name in enumerate(names(salt, ids)):
            if blocks[place] in fresh:
                written[blocks[place]] = (salt, tuple(ids[: (place + 1) * SIZE]))
                pool.name(blocks[place], name)
        running.append((salt, ids, blocks))
        assert pool.available == count - len({block for _, _, own in running for block in own})
    for _, _, blocks in running:
        pool.release(blocks)
    assert pool.available == count
    taken = pool.take(count)
    assert taken is not None
    assert sorted(taken) == list(range(count))


def test_the_longest_unused_goes_first_and_ends_before_beginnings() -> None:
    pool = BlockPool(4)
    kept = {}
    for salt in (b"old", b"new"):
        blocks = pool.take(2)
        assert blocks is not None
        kept[salt] = names(salt, [1, 2, 3, 4])
        for block, name in zip(blocks, kept[salt], strict=True):
            pool.name(block, name)
        pool.release(blocks)
    assert pool.take(1) is not None
    assert pool.share(kept[b"old"][1]) is None
    assert pool.share(kept[b"old"][0]) is not None
    assert pool.share(kept[b"new"][1]) is not None


def test_spoilt_blocks_are_not_found() -> None:
    pool = BlockPool(2)
    (block,) = pool.take(1) or []
    pool.name(block, b"name")
    shared = pool.share(b"name")
    assert shared == block
    assert pool.spoil([block]) == []
    pool.release([block])
    assert pool.spoil([block]) == [block]
    assert pool.share(b"name") is None
    pool.release([block])
    assert pool.available == 2


def test_a_picture_is_part_of_the_name_wherever_it_stands() -> None:
    def name(digest: bytes, start: int, stop: int = 9) -> bytes:
        return next_name(b"", [7, 7, 7, 7], 4, [PicturePlace(start, stop, digest)])

    found = [name(b"a" * 32, 2), name(b"b" * 32, 2), name(b"a" * 32, 3), name(b"a" * 32, 5), name(b"a" * 32, 2, 6)]
    found += [next_name(b"", [7, 7, 7, 7], 4, []), next_name(b"", [-1, -1, -1, -1], 4, [])]
    assert len(set(found)) == len(found)
    # What ids a picture's places hold does not matter.
    assert next_name(b"", [1, 2, 3, 4], 4, [PicturePlace(2, 9, b"a" * 32)]) == found[0]


def test_digests_tell_shapes_types_and_salts_apart() -> None:
    pixels = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)
    others = [pixels.reshape(1, 3, 4, 2), pixels.view(np.int32), pixels.astype(np.float64), pixels + 1]
    digests = [picture_digest(one, b"", "p") for one in [pixels, *others]]
    digests += [picture_digest(pixels, b"s", "p"), picture_digest(pixels, b"", "ps"), picture_digest(pixels, b"p", "")]
    assert len(set(digests)) == len(digests)
    assert picture_digest(pixels.copy(), b"", "p") == digests[0]
