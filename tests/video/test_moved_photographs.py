"""Time's direction on photographs: what `srl` of a video learns from scratch in 600 steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from moved_photographs import CLASSES, PAIRS, MovedPhotographs, move_camera, read_photographs
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from spectral_residual.video.classification import pair_accuracy
from spectral_residual.video.network import VideoNetwork

STEPS, BATCH, RATE = 600, 16, 2e-3


def network(block):
    model = VideoNetwork(backbone="resnet18", block=block).build(len(CLASSES), 8, (64, 64))
    return model.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_clips_of_a_pair_differ_in_the_order_of_their_frames_alone(pair):
    photograph = np.random.default_rng(0).integers(0, 256, (96, 120, 3), dtype=np.uint8)
    one, other = (move_camera(photograph, name, np.random.default_rng(1)) for name in pair)
    assert one.shape == (3, 8, 64, 64)
    torch.testing.assert_close(one.flip(1), other)
    assert not torch.allclose(one, other, atol=0.5)


def test_without_a_block_the_direction_cannot_be_seen():
    torch.manual_seed(0)
    model = network(None).eval()
    clip = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(clip), model(clip.flip(2)), rtol=1e-4, atol=1e-5)


def test_direction_is_learnt_from_scratch(shared_data):
    """At least 90 % within pairs; on photographs that training has not seen."""
    photographs = shared_data("lspet")
    torch.manual_seed(1)
    model = network("srl")
    moved = MovedPhotographs(read_photographs(photographs / "train", 1000), STEPS * BATCH, seed=1)
    optimizer = AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, max_lr=RATE, total_steps=STEPS)
    model.train()
    for clips, labels in DataLoader(moved, batch_size=BATCH, shuffle=True):
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(clips)
        loss = F.cross_entropy(scores.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    kept_aside = MovedPhotographs(read_photographs(photographs / "val", 200), 800, seed=1000)
    batches = list(DataLoader(kept_aside, batch_size=32))
    model.eval()
    with torch.no_grad():
        scores = torch.cat([model(clips) for clips, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    pairs = [tuple(map(CLASSES.index, pair)) for pair in PAIRS]
    found = pair_accuracy(scores, labels, pairs)
    print(f"within pairs: {100 * found:.1f} %")
    assert found >= 0.9
