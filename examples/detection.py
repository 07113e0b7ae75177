"""Detection: torchvision's Faster R-CNN with blocks in its backbone.

Generated pictures show squares and discs. The network starts from random weights and learns from
some of them; then it is asked for the shapes of others:

    python examples/detection.py
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

from spectral_residual import insert_blocks, inserted_blocks

SIDE, STEPS, BATCH = 96, 40, 4
CLASSES = ("background", "square", "disc")


def make_picture(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw a square and a disc in noise.

    Returns
    -------
    picture : Tensor
        (3, H, W) in [0, 1].
    target : dict of Tensor
        ``boxes`` (2, 4), left, top, right, bottom in pixels, and ``labels`` (2,).
    """
    picture = 0.3 * torch.rand(3, SIDE, SIDE, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    boxes = []
    for label, column in ((1, 0), (2, SIDE // 2)):
        radius = int(torch.randint(8, 16, (), generator=generator))
        y, x = torch.randint(radius, SIDE // 2 - radius, (2,), generator=generator).tolist()
        y, x = 2 * y, x + column
        inside = (rows - y).abs().maximum((columns - x).abs()) <= radius
        if label == 2:
            inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        picture[:, inside] += 0.6
        boxes.append([x - radius, y - radius, x + radius + 1, y + radius + 1])
    boxes = torch.tensor(boxes, dtype=torch.float32)
    return picture, {"boxes": boxes, "labels": torch.tensor([1, 2])}


def make_network() -> nn.Module:
    """Faster R-CNN on the first two stages of ResNet-18, each with a block after it."""
    layers = list(torchvision.models.resnet18(weights=None).named_children())[:6]
    backbone = nn.Sequential(OrderedDict(layers))  # conv1, bn1, relu, maxpool, layer1, layer2
    backbone.out_channels = 128
    model = FasterRCNN(
        *(backbone, len(CLASSES), SIDE, SIDE),
        rpn_anchor_generator=AnchorGenerator(((16, 24, 32),), ((1.0,),)),
        rpn_post_nms_top_n_train=100,
        box_batch_size_per_image=32,
    )
    pictures = [torch.zeros(3, SIDE, SIDE)]  # what the network is called with
    insert_blocks(model, ["backbone.layer1", "backbone.layer2"], example_inputs=(pictures,))
    print(inserted_blocks(model, example_inputs=(pictures,)))
    return model


def train(model: nn.Module, generator: torch.Generator) -> None:
    """The sum of the four losses of Faster R-CNN, AdamW."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=5e-4)
    for step in range(STEPS):
        pictures, targets = zip(*(make_picture(generator) for _ in range(BATCH)), strict=True)
        loss = sum(model(list(pictures), list(targets)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0 or step == STEPS - 1:
            print(f"step {step:3}: loss {float(loss.detach()):.3f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    source = torch.Generator().manual_seed(0)
    network = make_network()
    train(network, source)
    pictures, targets = zip(*(make_picture(source) for _ in range(20)), strict=True)
    with torch.no_grad():
        found = network.eval()(list(pictures))
    hits = 0
    for target, given in zip(targets, found, strict=True):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            candidates = given["boxes"][(given["labels"] == label) & (given["scores"] > 0.5)]
            hits += bool((box_iou(box[None], candidates) > 0.5).any())
    print(f"{hits} of {2 * len(targets)} shapes found with an IoU above 0.5")
