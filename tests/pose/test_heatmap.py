"""Heatmap codec, flip test and loss, against loops written from the protocol."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectral_residual.pose.geometry import apply_affine, crop_matrix
from spectral_residual.pose.heatmap import HeatmapCodec, default_sigma, flip_heatmaps
from spectral_residual.pose.skeleton import COCO
from spectral_residual.pose.task import keypoint_mse

CODEC = HeatmapCodec((256, 192), (64, 48), 2.0)
CODECS = [
    CODEC,
    HeatmapCodec((384, 288), (96, 72), 3.0),
    HeatmapCodec((68, 124), (17, 31), 1.5),
    HeatmapCodec((15, 9), (15, 9), 1.0),
]


def naive_encode(joints, visible, codec):
    """SimpleBaseline's target for one person, with a loop over joints and pixels."""
    height, width = codec.heatmap_size
    radius = int(3 * codec.sigma)
    maps, weights = np.zeros((len(joints), height, width)), np.zeros(len(joints))
    for k, (x, y) in enumerate(joints):
        mu_x, mu_y = int(x / codec.stride + 0.5), int(y / codec.stride + 0.5)
        weights[k] = visible[k]
        if mu_x - radius >= width or mu_y - radius >= height:
            weights[k] = 0
        if mu_x + radius + 1 < 0 or mu_y + radius + 1 < 0:
            weights[k] = 0
        if weights[k] < 0.5:
            continue
        for row in range(max(0, mu_y - radius), min(height, mu_y + radius + 1)):
            for column in range(max(0, mu_x - radius), min(width, mu_x + radius + 1)):
                squared = (column - mu_x) ** 2 + (row - mu_y) ** 2
                maps[k, row, column] = math.exp(-squared / (2 * codec.sigma**2))
    return maps, weights


def naive_decode(heatmap):
    height, width = heatmap.shape
    best, px, py = -math.inf, 0, 0
    for row in range(height):
        for column in range(width):
            if heatmap[row, column] > best:
                best, px, py = float(heatmap[row, column]), column, row
    if best <= 0:
        return (0.0, 0.0), best
    x, y = float(px), float(py)
    if 1 < px < width - 1 and 1 < py < height - 1:
        x += 0.25 * float(np.sign(heatmap[py, px + 1] - heatmap[py, px - 1]))
        y += 0.25 * float(np.sign(heatmap[py + 1, px] - heatmap[py - 1, px]))
    return (x, y), best


def gaussian(x, y, height=64, width=48, sigma=2.0):
    rows = torch.arange(height, dtype=torch.float64)[:, None]
    columns = torch.arange(width, dtype=torch.float64)[None, :]
    return torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def centroid_x(maps):
    columns = torch.arange(maps.shape[-1], dtype=maps.dtype)
    return (maps * columns).sum((-1, -2)) / maps.sum((-1, -2))


def joint_tensor(x, y, dtype=torch.float64):
    return torch.tensor([[[x, y]]], dtype=dtype)


# Encoding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_encoder_equals_the_loop(codec, dtype):
    rng = np.random.default_rng(0)
    reach = codec.stride * (codec.radius + 3)
    high = np.array(codec.input_size[::-1]) + reach
    joints = rng.uniform([-reach, -reach], high, (6, 9, 2))
    joints[3:] = np.round(joints[3:] * 2) / 2  # ties of the rounding
    visible = (rng.random((6, 9)) < 0.8).astype(np.float64)
    maps, weights = codec.encode(torch.tensor(joints, dtype=dtype), torch.tensor(visible))
    assert maps.shape == (6, 9, *codec.heatmap_size)
    assert maps.dtype == weights.dtype == torch.float32
    for n in range(6):
        expected_maps, expected_weights = naive_encode(joints[n], visible[n], codec)
        np.testing.assert_array_equal(weights[n], expected_weights)
        np.testing.assert_allclose(maps[n], expected_maps, rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(maps[n] == 0, expected_maps == 0)
    assert (weights != torch.tensor(visible)).any()  # some joints were too far outside


@pytest.mark.parametrize(("sigma", "total"), [(2, 25.0813), (3, 56.3830), (4, 100.1835)])
def test_patch_numbers(sigma, total):
    codec = HeatmapCodec((512, 384), (128, 96), sigma)
    maps, _ = codec.encode(joint_tensor(200, 240), torch.ones(1, 1))
    patch = maps[0, 0]
    assert patch.sum().item() == pytest.approx(total, abs=1e-4)
    assert patch.max().item() == 1.0 == patch[60, 50].item()
    side = 6 * sigma + 1
    assert int((patch > 0).sum()) == side**2
    assert patch[60, 50 + 3 * sigma].item() == pytest.approx(0.011109, abs=1e-6)
    assert patch[60 - 3 * sigma, 50 + 3 * sigma].item() == pytest.approx(1.234e-4, abs=1e-7)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("offset", "from_end", "weight", "drawn"),
    [
        *((-6, False, 1, True), (-7, False, 1, False), (-8, False, 0, False)),
        *((5, True, 1, True), (6, True, 0, False)),
    ],
)
def test_border_cases(axis, offset, from_end, weight, drawn):
    side = (48, 64)[axis]
    point = [100.0, 100.0]
    point[axis] = 4.0 * (offset + side if from_end else offset)
    # Truncation toward zero: a negative centre mu comes from x / 4 + 1/2 = mu exactly.
    if not from_end:
        point[axis] -= 2
    maps, weights = CODEC.encode(joint_tensor(*point), torch.ones(1, 1))
    assert weights.item() == weight
    assert (maps.sum() > 0).item() is drawn


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("x", "mu"), [(1.99, 0), (2.0, 1), (5.99, 1), (6.0, 2), (-1.0, 0), (-5.9, 0), (40.0, 10)]
)
def test_rounding_of_the_centre(x, mu, dtype):
    maps, _ = CODEC.encode(joint_tensor(x, 80, dtype), torch.ones(1, 1))
    assert maps[0, 0, 20].argmax().item() == mu
    assert maps[0, 0, 20, mu].item() == 1.0


def test_non_integer_sigma_has_radius_rounded_down():
    codec = HeatmapCodec((64, 64), (16, 16), 1.5)
    maps, _ = codec.encode(joint_tensor(32, 32), torch.ones(1, 1))
    assert codec.radius == 4
    assert int((maps > 0).sum()) == 81


def test_unlabelled_joints_have_no_target_and_may_be_anywhere():
    joints = torch.tensor([[[40.0, 40.0], [math.nan, 3.0], [math.inf, 1e30]]])
    maps, weights = CODEC.encode(joints, torch.tensor([[0, 0, 0]]))
    assert weights.tolist() == [[0, 0, 0]]
    assert not maps.any()


def test_half_precision_joints_and_integer_visibility():
    joints = torch.tensor([[[40.0, 81.0], [7.0, 250.0]]])
    expected = CODEC.encode(joints, torch.ones(1, 2))
    for dtype in (torch.float16, torch.int64):
        got = CODEC.encode(joints.to(dtype), torch.ones(1, 2, dtype=torch.bool))
        assert torch.equal(got[0], expected[0])
        assert torch.equal(got[1], expected[1])


# Decoding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("shape", [(17, 31), (5, 4), (3, 3), (2, 7), (1, 1)])
def test_decoder_equals_the_loop(shape, levels, dtype):
    generator = torch.Generator().manual_seed(shape[0])
    maps = torch.randn(6, 25, *shape, generator=generator, dtype=dtype)
    if levels:  # few values: many ties of the maximum and of the neighbours
        maps = torch.round(maps).clamp(-1, 1)
    maps[0] = -maps[0].abs()
    codec = HeatmapCodec((4 * shape[0], 4 * shape[1]), shape, 1.0)
    coords, scores = codec.decode(maps)
    assert coords.dtype == scores.dtype == dtype
    assert coords.shape == (6, 25, 2)
    for n in range(6):
        for k in range(25):
            point, score = naive_decode(maps[n, k].numpy())
            assert tuple(coords[n, k].tolist()) == point
            assert scores[n, k].item() == score


def test_quarter_offset_numbers():
    maps = torch.stack([gaussian(20.3, 30.0), gaussian(20.0, 30.7), gaussian(19.6, 29.6)])[None]
    coords, scores = CODEC.decode(maps)
    assert coords[0].tolist() == [[20.25, 30.0], [20.0, 30.75], [19.75, 29.75]]
    assert scores[0, 1].item() == pytest.approx(math.exp(-0.09 / 8))


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        *((1.3, 30.3, (1, 30)), (2.3, 30.3, (2.25, 30.25)), (20.3, 1.3, (20, 1))),
        *((46.3, 62.3, (46.25, 62.25)), (46.7, 30.3, (47, 30)), (20.3, 62.7, (20, 63))),
    ],
)
def test_no_refinement_near_the_border(x, y, expected):
    coords, _ = CODEC.decode(gaussian(x, y)[None, None])
    assert tuple(coords[0, 0].tolist()) == expected


@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_a_map_without_positive_values_decodes_to_the_origin(fill):
    maps = torch.full((1, 2, 64, 48), fill)
    maps[0, 1, 10, 10] = fill / 2
    coords, scores = CODEC.decode(maps)
    assert not coords.any()
    assert scores.tolist() == [[fill, fill / 2]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_decoded_in_float32(dtype):
    maps = gaussian(20.3, 30.4)[None, None].to(dtype)
    coords, scores = CODEC.decode(maps)
    assert coords.dtype == scores.dtype == torch.float32
    expected = CODEC.decode(maps.float())
    assert torch.equal(coords, expected[0])
    assert torch.equal(scores, expected[1])


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_round_trip(codec):
    rng = np.random.default_rng(0)
    height, width = codec.heatmap_size
    # Beyond the last pixel's own rounding interval the centre leaves the map.
    high = codec.stride * (np.array([width, height]) - 0.5) - 1e-6
    joints = torch.tensor(rng.uniform([0, 0], high, (20, 17, 2)))
    coords, scores = codec.decode(codec.encode(joints, torch.ones(20, 17))[0])
    error = (codec.to_crop(coords) - joints).abs()
    assert error.max() <= codec.stride / 2
    assert error.max() > 0.4 * codec.stride
    assert (scores == 1).all()
    whole = torch.tensor(rng.integers(0, [width, height], (20, 17, 2))) * codec.stride
    decoded = codec.to_crop(codec.decode(codec.encode(whole, torch.ones(20, 17))[0])[0])
    assert torch.equal(decoded, whole.to(decoded.dtype))


# Back to the image


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_to_image_inverts_the_unrotated_crop(codec):
    rng = np.random.default_rng(1)
    center, width = rng.uniform(50, 150, (5, 2)), rng.uniform(20, 300, 5)
    size = np.stack([width, width * 2], axis=-1)
    coords = rng.uniform(0, 60, (5, 17, 2)).astype(np.float32)
    given = [torch.from_numpy(values) for values in (coords, center, size)]
    got = codec.to_image(*given)
    assert got.dtype == torch.float64
    for n in range(5):
        matrix = crop_matrix(center[n], size[n], 0, codec.input_size)
        crop = apply_affine(got[n].numpy(), matrix)
        np.testing.assert_allclose(crop, codec.stride * coords[n], atol=1e-9)
        alone = codec.to_image(*(values[n, None] for values in given))
        assert torch.equal(alone[0], got[n])


# Flip test


def naive_unflip(maps, pairs):
    out = maps.copy()
    for n in range(maps.shape[0]):
        for k in range(maps.shape[1]):
            out[n, k] = maps[n, k][:, ::-1]
    for a, b in pairs:
        out[:, [a, b]] = out[:, [b, a]]
    out[..., 1:] = out[..., :-1].copy()
    return out


@pytest.mark.parametrize("width", [1, 7, 12])
def test_unflip_equals_the_loop(width):
    maps = torch.randn(2, 17, 5, width)
    before = maps.clone()
    got = flip_heatmaps(maps, COCO.flip_permutation)
    np.testing.assert_array_equal(got, naive_unflip(maps.numpy(), COCO.flip_pairs))
    assert torch.equal(maps, before)


def toy_network(crop):
    """Ideal heatmaps of two landmarks: channel 0 is the right one in the crop, channel 1 the left.

    Crop (256, 192) -> (2, 64, 48); each landmark is found as the centroid of its half.
    """
    maps = []
    for half in (slice(96, None), slice(None, 96)):
        part = torch.zeros_like(crop)
        part[:, half] = crop[:, half]
        maps.append(gaussian(centroid_x(part) / 4, centroid_x(part.T) / 4))
    return torch.stack(maps)


def test_bias_of_the_flip_test():
    """Of the mirrored crop alone it would be 1/4; without the shift by a column, -3/4."""
    bias = 1 / 8
    left, right = (150.0, 120.0), (61.0, 90.0)
    crop = sum(gaussian(*point, height=256, width=192, sigma=3.0) for point in (left, right))
    plain = toy_network(crop)[None]
    unflipped = flip_heatmaps(toy_network(crop.flip(-1))[None], (1, 0))
    average = 0.5 * (plain + unflipped)
    peaks = centroid_x(average)[0]
    assert peaks.tolist() == pytest.approx([left[0] / 4 + bias, right[0] / 4 + bias], abs=1e-4)
    rows = centroid_x(average.transpose(-1, -2))[0]
    assert rows.tolist() == pytest.approx([30.0, 22.5], abs=1e-4)


# Loss


def naive_loss(pred, target, weights):
    """The published loop: 1/K of the sum over joints of half the mean squared error."""
    total = 0.0
    for k in range(pred.shape[1]):
        w = weights[:, k, None, None]
        total += 0.5 * np.mean((w * pred[:, k] - w * target[:, k]) ** 2)
    return total / pred.shape[1]


def loss_inputs(n=3, k=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(2, n, k, 6, 7, generator=generator, dtype=dtype)
    weights = torch.randint(0, 3, (n, k), generator=generator).to(dtype) / 2
    return pred, target, weights


def test_loss_equals_the_loop():
    pred, target, weights = loss_inputs()
    expected = naive_loss(pred.numpy(), target.numpy(), weights.numpy())
    assert keypoint_mse(pred, target, weights).item() == pytest.approx(expected, rel=1e-12)
    half_mse = 0.5 * torch.nn.functional.mse_loss(pred, target)
    torch.testing.assert_close(keypoint_mse(pred, target, torch.ones_like(weights)), half_mse)


def test_zero_weight_joints_stay_in_the_denominator():
    pred, target, weights = loss_inputs()
    more_weights = torch.cat([weights, torch.zeros_like(weights)], 1)
    doubled = keypoint_mse(torch.cat([pred, pred], 1), torch.cat([target, target], 1), more_weights)
    torch.testing.assert_close(doubled, keypoint_mse(pred, target, weights) / 2)


def test_batch_of_one():
    inputs = loss_inputs()
    singles = [keypoint_mse(*(values[n, None] for values in inputs)) for n in range(3)]
    torch.testing.assert_close(torch.stack(singles).mean(), keypoint_mse(*inputs))
    same = [values[[0, 0, 0, 0]] for values in inputs]
    torch.testing.assert_close(keypoint_mse(*same), singles[0])


def test_gradient_of_the_loss():
    pred, target, weights = loss_inputs()
    keypoint_mse(pred.requires_grad_(), target, weights).backward()
    expected = weights[:, :, None, None] ** 2 * (pred.detach() - target) / pred.numel()
    torch.testing.assert_close(pred.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_loss_of_half_precision_is_computed_in_float32(dtype):
    pred, target, weights = loss_inputs(dtype=torch.float32)
    pred, target = (1e-3 * pred).to(dtype), (1e-3 * target).to(dtype)
    loss = keypoint_mse(pred, target, weights.double())
    assert loss.dtype == torch.float32
    expected = keypoint_mse(pred.double(), target.double(), weights.double())
    assert 0 < loss.item() == pytest.approx(expected.item(), rel=1e-5)


# Sizes and errors

MAPS = torch.zeros(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("height", "sigma"), [(256, 2), (384, 3), (512, 4), (320, 2.5), (128, 1), (64, 1)]
)
def test_default_sigma(height, sigma):
    assert default_sigma((height, 3 * height // 4)) == sigma


def test_stride():
    assert CODEC.stride == 4
    assert CODEC.to_crop(torch.tensor([2.25, 3.0])).tolist() == [9, 12]
    assert HeatmapCodec((15, 9), (15, 9), 1.0).stride == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HeatmapCodec((256, 192), (64, 47), 2.0), "same integer multiple"),
        (lambda: HeatmapCodec((256, 192), (64, 96), 2.0), "same integer multiple"),
        (lambda: HeatmapCodec((64, 48), (128, 96), 2.0), "same integer multiple"),
        (lambda: HeatmapCodec((256, 0), (64, 48), 2.0), "input_size.*positive integers"),
        (lambda: HeatmapCodec((256, 192), (64.0, 48), 2.0), "heatmap_size.*positive integers"),
        (lambda: HeatmapCodec((256, 192), (64, 48), 0.0), "sigma: got 0.0"),
        (lambda: default_sigma((0, 4)), "input_size"),
        (lambda: CODEC.encode(torch.zeros(17, 2), torch.zeros(17)), r"expected \(N, K, 2\)"),
        (lambda: CODEC.encode(torch.zeros(1, 17, 2), torch.zeros(1, 16)), r"visible: .*\(1, 16\)"),
        (lambda: CODEC.decode(torch.zeros(1, 17, 48, 64)), r"expected \(N, K, 64, 48\)"),
        (lambda: CODEC.decode(torch.zeros(17, 64, 48)), r"got shape \(17, 64, 48\)"),
        (
            lambda: CODEC.to_image(torch.zeros(1, 3, 2), torch.zeros(3), torch.zeros(1, 2)),
            r"center: got shape \(3,\)",
        ),
        (
            lambda: CODEC.to_image(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 2)),
            r"coords: got shape \(3, 2\), expected \(N, K, 2\)",
        ),
        (lambda: flip_heatmaps(MAPS, (0, 1)), "permutation"),
        (lambda: flip_heatmaps(MAPS, (0, 1, 1)), "permutation"),
        (lambda: keypoint_mse(MAPS, MAPS, torch.ones(3)), r"weights \(3,\)"),
        (lambda: keypoint_mse(MAPS, MAPS[:, :1], torch.ones(1, 3)), r"target \(1, 1, 4, 4\)"),
    ],
)
def test_errors_say_got_and_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
