"""Semantic segmentation: a head with a block of its own behind a small trunk.

Every picture shows grey discs and a lamp in one of its corners. A red lamp says that the discs are
of class 1, a blue one that they are of class 2. The convolutions see 27 pixels: at most discs they
do not see the lamp, and can but guess. The block in the head sees all:

    python examples/segmentation.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectral_residual import create_block

SIDE, CLASSES = 64, 3
STEPS, BATCH, RATE = 240, 16, 1e-2


def make_pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw three discs and a lamp in noise.

    Returns
    -------
    pictures : Tensor
        (N, 3, H, W).
    labels : Tensor
        (N, H, W): 0 is background, 1 discs under a red lamp, 2 discs under a blue one.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = 0.3 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    labels = torch.zeros(count, SIDE, SIDE, dtype=torch.long)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for picture, label in zip(pictures, labels, strict=True):
        kind, corner = torch.randint(2, (2,), generator=generator).tolist()
        for y, x in torch.randint(14, SIDE - 6, (3, 2), generator=generator):
            label[(rows - y) ** 2 + (columns - x) ** 2 < 36] = 1 + kind
        picture[:, label > 0] += 1
        lamp = slice(0, 6) if corner else slice(-6, None)
        picture[2 * kind, :6, lamp] += 2
    return pictures, labels


def convolution(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation and ReLU."""
    conv = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU())


def make_network(block: str | None) -> nn.Module:
    """A trunk of stride 4, and a head of convolution, block and classifier."""
    size = (SIDE // 4, SIDE // 4)
    return nn.Sequential(
        convolution(3, 16, stride=2),
        convolution(16, 32, stride=2),
        convolution(32, 32),
        nn.Identity() if block is None else create_block(block, 32, size),
        convolution(32, 32),
        nn.Conv2d(32, CLASSES, 1),
        nn.Upsample(scale_factor=4, mode="bilinear"),
    )


def train(model: nn.Module, pictures: Tensor, labels: Tensor) -> None:
    """Cross-entropy of every pixel."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(pictures), (BATCH,))
        loss = F.cross_entropy(model(pictures[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def intersection_over_union(model: nn.Module, pictures: Tensor, labels: Tensor) -> list[float]:
    """Of every class over all pictures, in percent."""
    found = torch.cat([model.eval()(some).argmax(dim=1) for some in pictures.split(64)])
    pairs = [(found == k, labels == k) for k in range(CLASSES)]
    return [100 * float((a & b).sum() / (a | b).sum()) for a, b in pairs]


if __name__ == "__main__":
    torch.set_num_threads(1)
    training, test = make_pictures(512, seed=1), make_pictures(128, seed=2)
    print(f"{'IoU in percent':15} background  red lamp  blue lamp   mean")
    for name in (None, "srl"):
        torch.manual_seed(0)
        network = make_network(name)
        train(network, *training)
        scores = intersection_over_union(network, *test)
        shown = "{:10.1f} {:9.1f} {:10.1f}".format(*scores)
        print(f"{name or 'no block':15} {shown} {sum(scores) / CLASSES:6.1f}")
