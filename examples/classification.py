"""Classification with a network of timm, without and with SRL blocks.

The pictures are strips with a light at either end. Question: do both have the same colour? No
position of the network's last maps sees both ends: its receptive field has 167 pixels, and 176 lie
between the lights. What every position sees is averaged and weighed, and from that alone it does
not follow whether the colours are the same. A block whose every coefficient sees the whole map
answers it:

    python examples/classification.py
"""

from __future__ import annotations

import statistics

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectral_residual import insert_blocks

HEIGHT, WIDTH, LIGHT = 16, 192, 8
STEPS, BATCH, RATE = 80, 32, 3e-3


def make_pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw noise with a red, green or blue square at either end.

    Returns
    -------
    pictures : Tensor
        (N, 3, H, W).
    same : Tensor
        (N,), 1 if the colours of both lights are equal.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = 0.3 * torch.randn(count, 3, HEIGHT, WIDTH, generator=generator)
    left = torch.randint(3, (count,), generator=generator)
    same = torch.randint(2, (count,), generator=generator)
    other = (left + torch.randint(1, 3, (count,), generator=generator)) % 3
    right = torch.where(same == 1, left, other)
    tops = torch.randint(HEIGHT - LIGHT + 1, (count, 2), generator=generator)
    for picture, first, second, (a, b) in zip(pictures, left, right, tops, strict=True):
        picture[first, a : a + LIGHT, :LIGHT] += 2
        picture[second, b : b + LIGHT, -LIGHT:] += 2
    return pictures, same


def make_network(block: str | None) -> nn.Module:
    """The smallest ResNet of timm, and a block after two of its stages."""
    model: nn.Module = timm.create_model("test_resnet", num_classes=2)
    if block is not None:
        insert_blocks(model, ["layer2", "layer3"], block, input_size=(3, HEIGHT, WIDTH))
    return model


def train(model: nn.Module, pictures: Tensor, labels: Tensor) -> None:
    """Eighty steps of AdamW with one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(pictures), (BATCH,))
        loss = F.cross_entropy(model(pictures[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    """Share of right answers in percent."""
    model.eval()
    answers = torch.cat([model(some).argmax(dim=1) for some in pictures.split(64)])
    return 100 * float((answers == labels).float().mean())


def main(blocks: tuple[str | None, ...] = (None, "srl"), seeds: int = 2) -> None:
    """Train with every block and seed, and print the accuracies on pictures not trained with."""
    training, test = make_pictures(2048, seed=1), make_pictures(512, seed=2)
    for block in blocks:
        found = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            model = make_network(block)
            train(model, *training)
            found.append(accuracy(model, *test))
        shown = ", ".join(f"{value:.1f}" for value in found)
        print(f"{block or 'no block':15} {statistics.mean(found):5.1f} % right (seeds: {shown})")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
