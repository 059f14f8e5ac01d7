"""An epoch holds what was asked for, evenly, and follows from the seed and its number alone."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuwen.config import TuwenError, parse_config
from tuwen.data.epochs.epoch import epoch_samples
from tuwen.data.epochs.mixture import EpochSource, MixtureSettings, SourceShare, apportion, epoch_counts

SHARES = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"count": st.integers(1, 90)}),
    st.fixed_dictionaries({"repeat": st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.25])}),
)


def source(size: int, **share: Any) -> EpochSource:
    return EpochSource(size, parse_config(SourceShare, share, "sources.0"))


@st.composite
def mixtures(draw: st.DrawFn, *, capped: bool = True) -> tuple[list[EpochSource], MixtureSettings]:
    """Some sources, all with a weight or none with one, and settings that go with them."""
    sizes = draw(st.lists(st.integers(8, 40), min_size=1, max_size=4))
    cap = st.one_of(st.just({}), st.fixed_dictionaries({"cap": st.integers(4, 50)})) if capped else st.just({})
    if draw(st.booleans()):
        return [source(size, **draw(SHARES), **draw(cap)) for size in sizes], MixtureSettings()
    sources = [source(size, weight=draw(st.sampled_from([0.5, 1.0, 2.0])), **draw(cap)) for size in sizes]
    return sources, draw(
        st.sampled_from(
            [MixtureSettings(), MixtureSettings(stopping_strategy="all_exhausted"), MixtureSettings(samples=57)]
        )
    )


def by_source(samples: np.ndarray, sources: list[EpochSource]) -> list[list[int]]:
    """The samples of each source, as numbers in it."""
    ends = np.cumsum([one.size for one in sources])
    owners = np.searchsorted(ends, samples, side="right")
    return [(samples[owners == place] - (ends[place] - one.size)).tolist() for place, one in enumerate(sources)]


@given(mixtures(), st.integers(0, 2**40), st.integers(0, 1000))
def test_an_epoch_has_the_counts_that_are_announced(
    mixture: tuple[list[EpochSource], MixtureSettings], seed: int, epoch: int
) -> None:
    sources, settings = mixture
    samples = epoch_samples(sources, settings, seed, epoch)
    assert samples.dtype == np.int64
    assert [len(mine) for mine in by_source(samples, sources)] == epoch_counts(sources, settings)


@given(mixtures(), st.integers(0, 100), st.integers(0, 50), st.integers(1, 6))
def test_every_sample_has_its_turn_before_any_comes_again(
    mixture: tuple[list[EpochSource], MixtureSettings], seed: int, first: int, epochs: int
) -> None:
    sources, settings = mixture
    drawn = np.concatenate([epoch_samples(sources, settings, seed, first + number) for number in range(epochs)])
    for one, mine in zip(sources, by_source(drawn, sources), strict=True):
        often = Counter(mine)
        times, more = divmod(len(mine), one.used)
        assert len(often) == min(one.used, len(mine))
        assert Counter(often.values()) == +Counter({times: (one.used - more) * (times > 0), times + 1: more})


@given(mixtures(), st.integers(0, 100))
def test_an_epoch_is_a_pure_function(mixture: tuple[list[EpochSource], MixtureSettings], seed: int) -> None:
    sources, settings = mixture
    np.testing.assert_array_equal(epoch_samples(sources, settings, seed, 3), epoch_samples(sources, settings, seed, 3))


def test_seeds_and_epochs_differ() -> None:
    sources, settings = [source(200), source(100, count=50)], MixtureSettings()
    orders = [epoch_samples(sources, settings, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert sorted(orders[0][:200]) != list(range(200))


def test_a_cap_uses_the_same_part_in_every_epoch() -> None:
    sources = [source(10), source(100, cap=7, repeat=2), source(10)]
    parts = [
        set(by_source(epoch_samples(sources, MixtureSettings(), seed, epoch), sources)[1])
        for seed in (1, 2)
        for epoch in range(5)
    ]
    assert all(len(part) == 7 for part in parts)
    assert parts[:5] == [parts[0]] * 5
    assert parts[5:] == [parts[5]] * 5
    assert parts[0] != parts[5]


@pytest.mark.parametrize(
    ("shares", "settings", "counts"),
    [
        ([{}, {}], {}, [1000, 100]),
        ([{"count": 40}, {"count": 250}], {}, [40, 250]),
        ([{"repeat": 0.29}, {"repeat": 2}], {}, [290, 200]),
        ([{"cap": 300}, {"cap": 300}], {}, [300, 100]),
        ([{"cap": 300, "repeat": 2}, {}], {}, [600, 100]),
        ([{"weight": 1}, {"weight": 1}], {}, [100, 100]),
        ([{"weight": 3}, {"weight": 1}], {"stopping_strategy": "first_exhausted"}, [300, 100]),
        ([{"weight": 3}, {"weight": 1}], {"stopping_strategy": "all_exhausted"}, [1000, 333]),
        ([{"weight": 0.2, "cap": 10}, {"weight": 0.8}], {}, [10, 40]),
        ([{"weight": 2}, {"weight": 1}], {"samples": 100}, [67, 33]),
    ],
)
def test_counts_are_those_that_users_expect(
    shares: list[dict[str, Any]], settings: dict[str, Any], counts: list[int]
) -> None:
    sources = [source(1000, **shares[0]), source(100, **shares[1])]
    assert epoch_counts(sources, parse_config(MixtureSettings, settings, "mixture")) == counts


@given(st.integers(0, 10**9), st.lists(st.floats(0, 1e6), min_size=1, max_size=9).filter(lambda ws: sum(ws) > 1e-3))
def test_apportioned_parts_add_up(total: int, weights: list[float]) -> None:
    parts = apportion(total, weights)
    assert sum(parts) == total
    assert all(abs(part - total * weight / sum(weights)) < 1 for part, weight in zip(parts, weights, strict=True))


@given(mixtures(capped=False), st.floats(0, 1), st.floats(0.05, 0.95), st.integers(0, 5))
def test_the_share_without_pictures_is_reached(
    mixture: tuple[list[EpochSource], MixtureSettings], share: float, natural: float, epoch: int
) -> None:
    sources, settings = mixture
    size = sum(one.size for one in sources)
    has_pictures = np.random.default_rng(size).random(size) >= natural
    has_pictures[:2] = False, True
    settings = settings.model_copy(update={"text_only_share": share})
    samples = epoch_samples(sources, settings, 5, epoch, has_pictures=has_pictures)
    assert len(samples) == sum(epoch_counts(sources, settings))
    assert abs((~has_pictures[samples]).sum() - share * len(samples)) <= 1


def test_thinning_and_repeating_keep_sources_in_proportion_and_turns_even() -> None:
    sources = [source(600), source(200), source(100)]
    has_pictures = np.concatenate([np.ones(600, bool), np.arange(200) % 2 == 0, np.zeros(100, bool)])
    settings = MixtureSettings(text_only_share=0.5)
    epochs = [epoch_samples(sources, settings, 1, epoch, has_pictures=has_pictures) for epoch in range(14)]
    first = by_source(epochs[0], sources)
    # 450 samples with pictures from 600 + 100, and 450 without from 100 + 100.
    assert [len(mine) for mine in first] == [386, 64 + 225, 225]
    often = np.bincount(np.concatenate(epochs), minlength=900)
    assert np.ptp(often[:600]) <= 1
    assert np.ptp(often[600:800][has_pictures[600:800]]) <= 1
    assert np.ptp(often[600:800][~has_pictures[600:800]]) <= 1
    assert np.ptp(often[800:]) <= 1


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SourceShare, {"weight": 1, "count": 5}, "weight and count each say how much"),
        (SourceShare, {"count": 5, "repeat": 2}, "count and repeat each say how much"),
        (SourceShare, {"weight": 1, "repeat": 2}, "weight and repeat each say how much"),
        (SourceShare, {"weight": 0}, "weight: Input should be greater than 0, found 0"),
        (SourceShare, {"weight": float("inf")}, "weight: Input should be a finite number"),
        (SourceShare, {"repeat": float("nan")}, "repeat: Input should be"),
        (SourceShare, {"cap": 0}, "cap: Input should be greater than or equal to 1, found 0"),
        (SourceShare, {"weights": 1}, "did you mean 'weight'"),
        (MixtureSettings, {"samples": 5, "stopping_strategy": "all_exhausted"}, "each say how long an epoch is"),
        (MixtureSettings, {"stopping_strategy": "never"}, "stopping_strategy: Input should be 'first_exhausted'"),
        (MixtureSettings, {"text_only_share": 1.5}, "text_only_share: Input should be less than or equal to 1"),
    ],
)
def test_contradictions_in_one_place_are_refused(kind: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(TuwenError, match=message) as caught:
        parse_config(kind, values, "recipe.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sources", "settings", "message"),
    [
        ([], {}, "sources: name at least one"),
        ([source(5), source(0)], {}, "sources.1: it holds no samples"),
        ([source(5, weight=1), source(5)], {}, "sources.1: it has no weight, and sources.0 has one"),
        ([source(5, count=2), source(5, weight=2)], {}, "sources.0: it has no weight, and sources.1 has one"),
        ([source(5)], {"samples": 9}, "mixture.samples: 9 has no effect without weights"),
        ([source(5)], {"stopping_strategy": "all_exhausted"}, "mixture.stopping_strategy: all_exhausted has no effect"),
        ([source(5, repeat=0.01)], {}, "sources.0.repeat: 0.01 of 5 samples is less than one"),
        ([source(5, weight=1), source(5, weight=1e-4)], {"samples": 10}, "sources.1.weight: 0.0001 is less than one"),
        ([source(5, weight=1), source(9, weight=1e-4)], {}, "sources.1.weight: 0.0001 is less than one"),
    ],
)
def test_contradictions_between_sources_are_refused(
    sources: list[EpochSource], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(TuwenError, match=message) as caught:
        epoch_samples(sources, parse_config(MixtureSettings, settings, "mixture"), 0, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("pictures", "share", "kind"), [(True, 0.2, "without"), (False, 0.2, "with")])
def test_a_share_of_a_kind_that_there_is_none_of_is_refused(pictures: bool, share: float, kind: str) -> None:
    settings = MixtureSettings(text_only_share=share)
    with pytest.raises(TuwenError, match=rf"text_only_share: 0.2 takes \d+ of 10 samples {kind} pictures"):
        epoch_samples([source(10)], settings, 0, 0, has_pictures=np.full(10, pictures))


def test_a_recipe_can_be_checked_without_numpy() -> None:
    script = "import sys, tuwen.data.epochs.mixture; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
