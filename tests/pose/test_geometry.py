"""Boxes, crops and affine maps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spectral_residual.pose import geometry as geo

HW = (256, 192)
ASPECT = 192 / 256
IDENTITY = [[1, 0, 0], [0, 1, 0]]


def random_crop(rng, image_w=200, image_h=160):
    center = rng.uniform([0.3 * image_w, 0.3 * image_h], [0.7 * image_w, 0.7 * image_h])
    width = rng.uniform(60, 150)
    return center, np.array([width, width / ASPECT]), rng.uniform(-80, 80)


def naive_crop(point, center, width, degrees, hw):
    """The formula of the protocol for one point, in scalars."""
    s, r = hw[1] / width, degrees * math.pi / 180
    dx, dy = point[0] - center[0], point[1] - center[1]
    return (
        s * (math.cos(r) * dx + math.sin(r) * dy) + hw[1] / 2,
        s * (-math.sin(r) * dx + math.cos(r) * dy) + hw[0] / 2,
    )


def blob(height, width, x, y, sigma=3.0):
    yy, xx = np.mgrid[:height, :width]
    return 240 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))


def centroid(image):
    weights = image.astype(np.float64)
    yy, xx = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(xx * weights).sum(), (yy * weights).sum()]) / weights.sum()


# Boxes


def test_ground_truth_box_numbers():
    box = geo.clip_box((50, 60, 100, 200), 1000, 1000)
    center, size = geo.box_to_center_size(box, ASPECT)
    assert center.tolist() == [99.5, 159.5]
    assert size.tolist() == [186.5625, 248.75]
    assert (size / 200).tolist() == [0.9328125, 1.24375]
    assert 192 / size[0] == pytest.approx(1.0291457, abs=1e-7)


def test_detector_box_numbers():
    center, size = geo.box_to_center_size((50, 60, 100, 200), ASPECT)
    assert center.tolist() == [100, 160]
    assert size.tolist() == [187.5, 250]
    assert 192 / size[0] == 1.024


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 30, 40), (10, 20, 29, 39)),
        ((-5, -6, 30, 40), (0, 0, 29, 39)),  # the corner moves, the extent stays
        ((90, 70, 30, 40), (90, 70, 9, 9)),  # cut at pixel centres 99 and 79
        ((10, 20, 0.5, 40), (10, 20, 0, 39)),
        ((99, 20, 10, 10), (99, 20, 0, 9)),
        ((99.5, 20, 10, 10), None),
        ((10, 80, 10, 10), None),
        ((10, 20, 1, 1), None),
        ((10, 20, -3, 0), None),
    ],
)
def test_clip_box(box, expected):
    got = geo.clip_box(box, 100, 80)
    assert (got is None and expected is None) or got.tolist() == list(expected)


@pytest.mark.parametrize("aspect", [0.75, 1.0, 2.5])
@pytest.mark.parametrize("size", [(30, 90), (90, 30), (75, 100), (0, 10), (10, 0)])
def test_the_aspect_only_grows_one_side(size, aspect):
    grown = geo.fit_aspect(size, aspect)
    assert grown[0] == pytest.approx(aspect * grown[1])
    assert (grown >= np.array(size) - 1e-9).all()
    assert np.isclose(grown, size).any()
    _, padded = geo.box_to_center_size((0, 0, *size), aspect)
    np.testing.assert_allclose(padded, 1.25 * grown)


# Affine maps


def test_crop_matrix_numbers():
    straight = geo.crop_matrix((100, 150), (240, 320), 0, HW)
    np.testing.assert_allclose(straight, [[0.8, 0, 16], [0, 0.8, 8]], atol=1e-12)
    turned = geo.crop_matrix((100, 150), (240, 320), 90, HW)
    np.testing.assert_allclose(turned, [[0, 0.8, -24], [-0.8, 0, 208]], atol=1e-12)
    assert straight.dtype == np.float64


@pytest.mark.parametrize("seed", range(5))
def test_crop_matrix_is_the_formula_and_ignores_the_height(seed):
    rng = np.random.default_rng(seed)
    center, size, rotation = random_crop(rng)
    matrix = geo.crop_matrix(center, size, rotation, (37, 53))
    points = rng.uniform(-50, 250, (4, 3, 2))
    expected = [[naive_crop(p, center, size[0], rotation, (37, 53)) for p in row] for row in points]
    np.testing.assert_allclose(geo.apply_affine(points, matrix), expected, atol=1e-10)
    np.testing.assert_array_equal(
        matrix, geo.crop_matrix(center, size * [1, 3], rotation, (37, 53))
    )
    linear = matrix[:, :2]
    np.testing.assert_allclose(linear @ linear.T, (53 / size[0]) ** 2 * np.eye(2), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_mirror_comes_first(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-300, 300, (7, 2))
    mirrored = np.stack([199 - points[:, 0], points[:, 1]], axis=1)
    for matrix in (geo.crop_matrix(*random_crop(rng), HW), rng.normal(size=(2, 3))):
        both = geo.mirror_first(matrix, 200)
        expected = geo.apply_affine(mirrored, matrix)
        np.testing.assert_allclose(geo.apply_affine(points, both), expected, atol=1e-9)
        np.testing.assert_allclose(geo.mirror_first(both, 200), matrix, atol=1e-9)


def test_the_mirror_maps_pixel_centres():
    flip = geo.mirror_first(IDENTITY, 200)
    assert geo.apply_affine([[0, 5], [199, 6], [99.5, 7]], flip).tolist() == [
        [199, 5],
        [0, 6],
        [99.5, 7],
    ]
    np.testing.assert_array_equal(geo.mirror_first(flip, 200), IDENTITY)


# Warping


def test_warp_by_whole_pixels_is_a_copy_with_zero_border():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    out = geo.warp(image, [[1, 0, 4], [0, 1, -3]], (15, 40))
    expected = np.zeros((15, 40, 3), np.uint8)
    expected[:, 4:34] = image[3:18]
    np.testing.assert_array_equal(out, expected)
    flip = geo.mirror_first(IDENTITY, 30)
    np.testing.assert_array_equal(geo.warp(image, flip, (20, 30)), image[:, ::-1])


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_warp_is_bilinear_and_keeps_the_axes(channels):
    image = np.zeros((8, 8, *channels), np.uint8)
    image[3, 4] = 200
    out = geo.warp(image, [[1, 0, 0.25], [0, 1, 0.5]], (9, 10))
    assert out.shape == (9, 10, *channels)
    assert out.dtype == np.uint8
    patch = out[3:5, 4:6].reshape(2, 2, -1)[..., 0]
    np.testing.assert_allclose(patch, [[75, 25], [75, 25]], atol=1)
    assert np.count_nonzero(out) == 4 * math.prod(channels)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_landmark_lands_where_the_formula_says(seed, flipped):
    rng = np.random.default_rng(seed)
    center, size, rotation = random_crop(rng)
    x, y = center + rng.uniform(-12, 12, 2)
    image = blob(160, 200, x, y).round().astype(np.uint8)
    matrix = geo.crop_matrix(center, size, rotation, HW)
    expected = naive_crop((x, y), center, size[0], rotation, HW)
    if flipped:
        mirrored_center = np.array([199 - center[0], center[1]])
        matrix = geo.mirror_first(geo.crop_matrix(mirrored_center, size, rotation, HW), 200)
        expected = naive_crop((199 - x, y), mirrored_center, size[0], rotation, HW)
    np.testing.assert_allclose(centroid(geo.warp(image, matrix, HW)), expected, atol=0.1)

    pixel = np.round(center).astype(int)
    image = np.zeros((160, 200), np.uint8)
    image[pixel[1], pixel[0]] = 255
    out = geo.warp(image, matrix, HW)
    brightest = np.unravel_index(out.argmax(), out.shape)[::-1]
    assert np.abs(np.array(brightest) - geo.apply_affine(pixel, matrix)).max() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_one_composed_warp_equals_the_warp_of_the_mirrored_image(seed):
    rng = np.random.default_rng(seed)
    center, size, rotation = random_crop(rng)
    waves = np.stack([blob(160, 200, *rng.uniform(50, 110, 2), sigma=15) for _ in range(3)], -1)
    image = waves.round().astype(np.uint8)
    matrix = geo.crop_matrix(center, size, rotation, HW)
    two_steps = geo.warp(np.ascontiguousarray(image[:, ::-1]), matrix, HW)
    one_step = geo.warp(image, geo.mirror_first(matrix, 200), HW)
    assert two_steps.max() > 100
    assert np.abs(two_steps.astype(int) - one_step).max() <= 2


def test_outside_the_image_is_zero():
    image = np.full((40, 40, 3), 255, np.uint8)
    out = geo.warp(image, geo.crop_matrix((0, 0), (40, 40), 0, (40, 40)), (40, 40))
    assert (out[:19] == 0).all()
    assert (out[:, :19] == 0).all()
    assert (out[20:, 20:] == 255).all()


# Errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: geo.clip_box((0, 0, math.nan, 1), 9, 9), ValueError, "box_xywh.*4 finite"),
        (lambda: geo.clip_box((0, 0, 1), 9, 9), ValueError, "box_xywh.*4 finite"),
        (lambda: geo.box_to_center_size((0, 0, 0, 0), 1.0), ValueError, "not both zero"),
        (lambda: geo.box_to_center_size((0, 0, -1, 5), 1.0), ValueError, "-1.0 x 5.0"),
        (lambda: geo.box_to_center_size((0, 0, 2, 5), 0.0), ValueError, "aspect"),
        (lambda: geo.crop_matrix((0, 0), (0, 5), 0, HW), ValueError, "positive sizes"),
        (lambda: geo.crop_matrix((0, 0), (5, 5), math.nan, HW), ValueError, "finite angle"),
        (lambda: geo.mirror_first(np.eye(3), 9), ValueError, r"\(3, 3\), expected \(2, 3\)"),
        (lambda: geo.apply_affine(np.zeros((4, 3)), np.eye(3)[:2]), ValueError, r"\(4, 3\)"),
        (lambda: geo.warp(np.zeros((4, 4)), np.eye(3)[:2], HW), TypeError, "float64.*uint8"),
        (lambda: geo.warp(np.zeros(4, np.uint8), np.eye(3)[:2], HW), ValueError, "image"),
    ],
)
def test_errors_say_got_and_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
