"""Image policies give what the `transformers` processors of the same name give, and plan it from the size alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tuwen.config import TuwenError
from tuwen.vision import POLICIES, open_picture, parse_policy

SIZES = [(1, 1), (3, 500), (500, 3), (337, 335), (224, 224), (640, 480), (99, 411), (31, 33)]
SMALL = {name: {"type": name, "size": 32} for name in POLICIES.names()}


def picture(width: int, height: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def unnormalised(processor: Any, image: PIL.Image.Image, **options: Any) -> np.ndarray:
    """Tiles of a `transformers` processor in 0–255, [tiles, height, width, 3]."""
    out = processor(image, do_normalize=False, do_rescale=False, return_tensors="np", **options)["pixel_values"]
    values = np.asarray(out)
    values = values.reshape(-1, *values.shape[-3:])
    return values.transpose(0, 2, 3, 1)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(np.int64) - expected.astype(np.int64)).max() <= 1


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_square_is_siglips(size: tuple[int, int]) -> None:
    image = picture(*size)
    policy = parse_policy({"type": "square", "size": 56})
    processor = SiglipImageProcessorPil(size={"height": 56, "width": 56}, resample=3)
    assert_same(policy.pixels(image), unnormalised(processor, image))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_center_crop_is_clips(size: tuple[int, int]) -> None:
    image = picture(*size)
    policy = parse_policy({"type": "center_crop", "size": 56})
    processor = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    assert_same(policy.pixels(image), unnormalised(processor, image))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pad_square_is_llavas(size: tuple[int, int]) -> None:
    image = picture(*size)
    policy = parse_policy({"type": "pad_square", "size": 56})
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, resample=3
    )
    assert_same(policy.pixels(image), unnormalised(processor, image))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tiles_are_internvls(size: tuple[int, int]) -> None:
    image = picture(*size)
    policy = parse_policy({"type": "tiles", "size": 56, "max_tiles": 6})
    processor = GotOcr2ImageProcessorPil(
        size={"height": 56, "width": 56}, crop_to_patches=True, min_patches=1, max_patches=6, resample=3
    )
    assert_same(policy.pixels(image), unnormalised(processor, image))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_anyres_is_llava_nexts(size: tuple[int, int]) -> None:
    image = picture(*size)
    policy = parse_policy({"type": "anyres", "size": 56})
    pinpoints = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": 56},
        crop_size={"height": 56, "width": 56},
        image_grid_pinpoints=pinpoints,
        resample=3,
    )
    expected = unnormalised(processor, image)
    found = policy.pixels(image)
    assert_same(found, expected[: len(found)])


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(60, 1300), (1300, 60), (75, 3000)], ids=str)
def test_long_pictures_are_padded_as_llavas(size: tuple[int, int], resample: str) -> None:
    image = picture(*size)
    policy = parse_policy({"type": "pad_square", "size": 56, "resample": resample})
    processor = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": 56},
        crop_size={"height": 56, "width": 56},
        resample=PIL.Image.Resampling[resample.upper()],
    )
    assert_same(policy.pixels(image), unnormalised(processor, image))


@pytest.mark.parametrize("processor_class", [CLIPImageProcessorPil, ChineseCLIPImageProcessorPil])
@pytest.mark.parametrize(("size", "crop"), [(40, 56), (40, 57), (64, 37)])
def test_the_crop_may_differ_from_the_size(processor_class: Any, size: int, crop: int) -> None:
    policy = parse_policy({"type": "center_crop", "size": size, "crop_size": crop})
    processor = processor_class(size={"shortest_edge": size}, crop_size={"height": crop, "width": crop})
    for sides in SIZES:
        assert_same(policy.pixels(picture(*sides)), unnormalised(processor, picture(*sides)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBX", "YCbCr"])
@pytest.mark.parametrize("name", ["square", "center_crop"])
def test_opaque_modes_are_as_in_transformers(name: str, mode: str) -> None:
    image = picture(45, 67).convert(mode)
    processors = {
        "square": SiglipImageProcessorPil(size={"height": 56, "width": 56}, resample=3),
        "center_crop": CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
    }
    found = parse_policy({"type": name, "size": 56}).pixels(open_picture(image))
    assert_same(found, unnormalised(processors[name], image, do_convert_rgb=True))


@pytest.mark.parametrize("name", POLICIES.names())
def test_no_picture_has_more_tiles_than_said(name: str) -> None:
    policy = parse_policy(SMALL[name])
    sides = [1, 7, 31, 33, 64, 100, 333, 1000, 5000]
    assert max(policy.plan(width, height).tiles for width in sides for height in sides) == policy.most_tiles


def test_normalisation_is_clips() -> None:
    image = picture(60, 60)
    policy = parse_policy({"type": "square", "size": 60})
    processor = CLIPImageProcessorPil(do_resize=False, do_center_crop=False)
    expected = processor(image, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(policy.apply(image), expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(POLICIES.names()), st.integers(1, 300), st.integers(1, 300))
def test_the_plan_is_what_apply_gives(name: str, width: int, height: int) -> None:
    policy = parse_policy(SMALL[name])
    grid = policy.plan(width, height)
    assert policy.apply(picture(width, height)).shape == (grid.tiles, 3, grid.height, grid.width)
    assert grid.tiles == grid.rows * grid.columns + grid.thumbnail


@pytest.mark.parametrize("name", POLICIES.names())
@pytest.mark.parametrize("size", [(60000, 1), (1, 60000)], ids=str)
def test_extreme_ratios_stay_small(name: str, size: tuple[int, int]) -> None:
    policy = parse_policy(SMALL[name])
    tiles = policy.apply(PIL.Image.new("RGB", size, "red"))
    assert np.isfinite(tiles).all()
    assert tiles.shape[0] == policy.plan(*size).tiles


@pytest.mark.parametrize("name", POLICIES.names())
def test_settings_survive_a_round_trip(name: str) -> None:
    policy = parse_policy({**SMALL[name], "mean": [0.5, 0.4, 0.3], "resample": "bilinear"})
    assert parse_policy(policy.to_dict()) == policy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "image_policy.type: name an image policy"),
        ({"type": "sqare"}, "unknown image policy 'sqare'.*did you mean 'square'"),
        ({"type": "square", "sise": 3}, "sise: unknown key 'sise'.*did you mean 'size'"),
        ({"type": "square", "size": 0}, "size"),
        ({"type": "tiles", "min_tiles": 5, "max_tiles": 2}, "min_tiles 5 is more than max_tiles 2"),
        ({"type": "anyres", "resolutions": [[0, 1]]}, "not between 1 and 256 tiles"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TuwenError, match=message):
        parse_policy(values)
