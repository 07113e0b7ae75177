"""Blocks for videos in networks that keep the frames in the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from spectral_residual import VIDEO_BLOCKS, create_block, insert_blocks
from spectral_residual.blocks import FoldedVideoBlock
from spectral_residual.cost import measure_cost

CLIP = (3, 6, 12, 10)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Recorder(nn.Module):
    """Keeps its input and returns twice of it."""

    def forward(self, x):
        self.seen = x
        return 2 * x


def opened(name, channels, size):
    """Block whose output differs from its input."""
    torch.manual_seed(0)
    block = create_block(name, channels, size).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block


def test_frames_become_videos_and_frames_again():
    recorder = Recorder()
    x = random(6, 2, 4, 5)
    y = FoldedVideoBlock(recorder, 3)(x)
    assert torch.equal(y, 2 * x)
    assert recorder.seen.shape == (2, 2, 3, 4, 5)
    for n in range(2):
        for t in range(3):
            assert torch.equal(recorder.seen[n, :, t], x[3 * n + t])
    assert recorder.seen.data_ptr() == x.data_ptr()
    assert FoldedVideoBlock(recorder, 3)(x[:0]).shape == (0, 2, 4, 5)


@pytest.mark.parametrize("name", VIDEO_BLOCKS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_folding_changes_neither_numbers_nor_memory_format(name, memory_format):
    block = opened(name, 16, (3, 6, 5))
    x = random(6, 16, 6, 5)
    expected = block(x.unflatten(0, (2, 3)).transpose(1, 2).contiguous())
    y = FoldedVideoBlock(block, 3)(x.to(memory_format=memory_format))
    assert y.is_contiguous(memory_format=memory_format)
    frames = expected.transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(y, frames, rtol=1e-5, atol=1e-5)
    assert (frames - x).abs().max() > 0.01


@pytest.mark.parametrize("name", VIDEO_BLOCKS)
def test_channels_last_frames_are_folded_without_copies(name):
    """What the block sees and what it returns are the memory of the frames around it."""
    pointers = []
    block = opened(name, 16, (3, 6, 5))
    block.register_forward_hook(
        lambda module, args, output: pointers.extend((args[0].data_ptr(), output.data_ptr()))
    )
    x = random(6, 16, 6, 5).to(memory_format=torch.channels_last)
    y = FoldedVideoBlock(block, 3)(x)
    assert pointers == [x.data_ptr(), y.data_ptr()]


@pytest.mark.parametrize("shape", [(4, 2, 4, 5), (2, 2, 4, 5), (2, 2, 3, 4, 5), (3, 2, 4)])
def test_other_batches_are_refused(shape):
    message = r"shape \(N \* 3, C, H, W\), a whole number of videos of 3 frames, got \("
    with pytest.raises(ValueError, match=message):
        FoldedVideoBlock(nn.Identity(), 3)(torch.zeros(shape))
    with pytest.raises(ValueError, match="frames must be a positive integer, got 0"):
        FoldedVideoBlock(nn.Identity(), 0)


# ---- insertion ---------------------------------------------------------------------------------


class Folded(nn.Module):
    """Two layers on frames in the batch, every second frame dropped in between."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        frames = self.first(x.transpose(1, 2).flatten(0, 1))
        maps = self.stages(frames[::2]).unflatten(0, (len(x), -1))
        return self.head(maps.mean(dim=(1, 3, 4)))


def folded():
    torch.manual_seed(0)
    return Folded().eval()


def insert(model, block, options=None, after=("first", "stages.0", "stages"), **keywords):
    return insert_blocks(
        model, after, block, input_size=CLIP, options=options, folded_time=True, **keywords
    )


OPTIONS = {
    "srl": {"alpha": 0.0},
    **{name: {"groups": 2} for name in VIDEO_BLOCKS if name.startswith("srl-")},
    "non-local": {},
    "a2": {},
    "cgnl": {"groups": 2},
    "tsm": {"fraction": 0.25},
}


@pytest.mark.parametrize("name", VIDEO_BLOCKS)
def test_inserted_blocks_are_for_the_frames_of_their_place(name):
    plain = folded()
    model = insert(copy.deepcopy(plain), name, OPTIONS[name])
    x = random(2, *CLIP)
    assert torch.equal(model(x), plain(x)) == (name != "tsm")
    wrappers = {k: m for k, m in model.named_modules() if isinstance(m, FoldedVideoBlock)}
    assert {k: m.frames for k, m in wrappers.items()} == {
        "first.srl": 6,
        "stages.0_srl": 3,
        "stages.srl": 3,
    }
    if name == "srl-fft":
        sizes = [(m.block.frames, m.block.size, m.block.channels) for m in wrappers.values()]
        assert sizes == [(6, (12, 10), 8), (3, (6, 5), 16), (3, (6, 5), 16)]
    if name == "srl-fft-3d":
        assert [m.block.size for m in wrappers.values()] == [(6, 12, 10), (3, 6, 5), (3, 6, 5)]
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(".block." in key for key in missing)
    with torch.no_grad():
        for parameter in (p for m in wrappers.values() for p in m.parameters()):
            parameter.add_(0.3)
    y = model(x)
    assert (y - plain(x)).abs().max() > 1e-4
    torch.testing.assert_close(y[1:], model(x[1:]), rtol=1e-5, atol=1e-5)


def test_without_the_option_every_frame_is_an_image():
    model = insert_blocks(folded(), ["first"], "srl-fft", input_size=CLIP, options={"groups": 2})
    assert type(model.first.srl).__name__ == "SRLBlock"
    assert model.first.srl.size == (12, 10)


def test_operations_are_those_of_one_video():
    """Six frames at the first place, three at the others; once each, not once per frame."""
    plain, model = folded(), insert(folded(), "srl-fft", {"groups": 2})
    expected = 0.0
    for channels, size in ((8, (6, 12, 10)), (16, (3, 6, 5)), (16, (3, 6, 5))):
        block = create_block("srl-fft", channels, size, groups=2)
        expected += measure_cost(block, (channels, *size)).operations
    added = measure_cost(model, CLIP).operations - measure_cost(plain, CLIP).operations
    assert added == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("block", "after", "message"),
    [
        ("rcca", ["first"], "'rcca' is not defined for videos"),
        ("srl-fft-3", ["first"], "did you mean 'srl-fft-3d'"),
        ("srl-fft", ["head"], r"output of module 'head' must be frames \(N \* T, .*got shape"),
        ("srl-fft", ["frist"], "did you mean 'first'"),
    ],
)
def test_mistakes_leave_the_network_alone(block, after, message):
    model = folded()
    before = list(model.state_dict())
    with pytest.raises(ValueError, match=message):
        insert(model, block, after=["stages", *after], options={"groups": 2})
    assert list(model.state_dict()) == before
