"""Families of networks of torchvision, timm and transformers, on the meta device.

What each of them is called with, where a block goes and what maps it gets there; or the words in
which it is refused.
"""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from spectral_residual import insert_blocks, inserted_blocks, remove_blocks

IMAGE = (3, 224, 224)
CLIP = (3, 8, 56, 56)
PICTURES = ([torch.zeros(3, 96, 128)],)
PAIR = (torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128))


def of_torchvision(name, **options):
    import torchvision

    if "rcnn" in name or name.startswith(("retinanet", "fcos", "ssd", "deeplab", "lraspp")):
        options["weights_backbone"] = None
    return torchvision.models.get_model(name, weights=None, **options)


def of_timm(name, **options):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    return timm.create_model(name, **options)


def of_transformers(name):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = getattr(transformers, f"{name.partition('For')[0]}Config")()
    return getattr(transformers, name)(config)


SERVED = [
    (of_torchvision, "fasterrcnn_resnet50_fpn", PICTURES, "backbone.body.layer3", (1024, 50, 68)),
    (of_torchvision, "keypointrcnn_resnet50_fpn", PICTURES, "backbone.body.layer4", (2048, 25, 34)),
    (of_torchvision, "retinanet_resnet50_fpn", PICTURES, "backbone.fpn.layer_blocks.0", None),
    (of_torchvision, "fcos_resnet50_fpn", PICTURES, "backbone.body.layer4", (2048, 25, 34)),
    (of_torchvision, "ssd300_vgg16", PICTURES, "backbone.features", (512, 38, 38)),
    (of_torchvision, "deeplabv3_resnet50", IMAGE, "classifier.0", (256, 28, 28)),
    (of_torchvision, "lraspp_mobilenet_v3_large", IMAGE, "backbone.16", (960, 14, 14)),
    (of_torchvision, "vit_b_16", IMAGE, "conv_proj", (768, 14, 14)),
    (of_torchvision, "swin_t", IMAGE, "permute", (768, 7, 7)),
    (of_torchvision, "inception_v3", (3, 299, 299), "Mixed_6e", (768, 17, 17)),
    (of_torchvision, "googlenet", IMAGE, "inception4d", (528, 14, 14)),
    (of_torchvision, "efficientnet_b0", IMAGE, "features.5", (112, 14, 14)),
    (of_torchvision, "shufflenet_v2_x1_0", IMAGE, "stage3", (232, 14, 14)),
    (of_torchvision, "maxvit_t", IMAGE, "blocks.2", (256, 14, 14)),
    (of_torchvision, "r3d_18", CLIP, "layer3", (256, 2, 7, 7)),
    (of_torchvision, "s3d", (3, 16, 224, 224), "features.8", (512, 4, 14, 14)),
    (of_torchvision, "raft_small", PAIR, "feature_encoder.layer2", (64, 32, 32)),
    (of_timm, "hrnet_w18_small_v2", IMAGE, "stage3.0.branches.2", (72, 14, 14)),
    (of_timm, "convnext_tiny", IMAGE, "stages.2", (384, 14, 14)),
    (of_timm, "swinv2_tiny_window8_256", (3, 256, 256), "patch_embed.proj", (96, 64, 64)),
    (of_timm, "mobilenetv4_conv_small", IMAGE, "blocks.2", (96, 14, 14)),
    (of_timm, "dm_nfnet_f0", IMAGE, "stages.2", (1536, 14, 14)),
    (of_timm, "coatnet_nano_rw_224", IMAGE, "stages.2", (256, 14, 14)),
    (of_timm, "cspresnet50", IMAGE, "stages.2", (512, 14, 14)),
    (functools.partial(of_timm, features_only=True), "dla34", IMAGE, "level4", (256, 14, 14)),
    (of_transformers, "RegNetForImageClassification", IMAGE, "regnet.encoder.stages.2", None),
    (of_transformers, "SegformerForSemanticSegmentation", IMAGE, "decode_head.linear_fuse", None),
    (of_transformers, "UperNetForSemanticSegmentation", IMAGE, "backbone.encoder.stages.2", None),
    (
        of_transformers,
        "RTDetrForObjectDetection",
        {"pixel_values": torch.zeros(1, 3, 128, 128), "pixel_mask": torch.ones(1, 128, 128)},
        "model.backbone.model.encoder.stages.2",
        (1024, 8, 8),
    ),
]
CHANNELS_LAST = r"has its channels last, \(N, H, W, C\); expected \(N, C, H, W\)"
TOKENS = "must be a feature map .*, tokens without height and width"
REFUSED = [
    (of_torchvision, "swin_t", IMAGE, "features.3", CHANNELS_LAST),
    (of_torchvision, "swin3d_t", (3, 8, 64, 64), "features.2", CHANNELS_LAST),
    (of_torchvision, "convnext_tiny", IMAGE, "features.5.0.block.2", CHANNELS_LAST),
    (of_torchvision, "vit_b_16", IMAGE, "encoder.layers.encoder_layer_3", TOKENS),
    (of_torchvision, "mvit_v2_s", (3, 16, 224, 224), "blocks.3", "must return a tensor, got tuple"),
    (of_torchvision, "fasterrcnn_resnet50_fpn", PICTURES, "backbone.fpn", "got OrderedDict"),
    (
        of_torchvision,
        "fasterrcnn_resnet50_fpn",
        PICTURES,
        "roi_heads.box_head",
        "not called in the forward pass before the network needs values: FasterRCNN does not run",
    ),
    (of_torchvision, "fasterrcnn_resnet50_fpn", PICTURES, "rpn.head.conv", "of several sizes"),
    (of_timm, "mixer_s32_224", IMAGE, "blocks.2", TOKENS),
    (of_timm, "swin_tiny_patch4_window7_224", IMAGE, "layers.1", CHANNELS_LAST),
    (of_timm, "levit_128s", IMAGE, "stages.1", TOKENS),
    (
        of_timm,
        "hrnet_w18_small_v2",
        IMAGE,
        "stage2",
        "got list; modules in it that do: .*stage2.0.branches",
    ),
    (of_timm, "vgg11", (3, 16, 16), "features", "VGG does not run"),
    (of_transformers, "SwinForImageClassification", IMAGE, "swin.encoder.layers.1", "got tuple"),
]


def made(make, name) -> nn.Module:
    with torch.device("meta"):
        return make(name)


def inputs(given) -> dict:
    sizes = isinstance(given, tuple) and all(isinstance(n, int) for n in given)
    return {"input_size" if sizes else "example_inputs": given}


@pytest.mark.parametrize(("make", "name", "given", "place", "maps"), SERVED)
def test_served(make, name, given, place, maps):
    model = made(make, name)
    keys = list(model.state_dict())
    insert_blocks(model, [place], **inputs(given))
    (block,) = inserted_blocks(model, **inputs(given))
    assert block.after == place
    assert len(block.shape) in (4, 5)
    assert maps is None or block.shape[1:] == maps
    assert block.operations > 0
    assert list(remove_blocks(model).state_dict()) == keys


@pytest.mark.parametrize(("make", "name", "given", "place", "message"), REFUSED)
def test_refused_in_words(make, name, given, place, message):
    model = made(make, name)
    keys = list(model.state_dict())
    with pytest.raises(ValueError, match=message):
        insert_blocks(model, [place], **inputs(given))
    assert list(model.state_dict()) == keys
    assert not any(m._forward_hooks for m in model.modules())


def test_the_four_widths_of_hrnet_after_what_the_error_suggests():
    places = ["stage4.0.branches.*"]
    model = made(of_timm, "hrnet_w18_small_v2")
    with pytest.raises(ValueError, match=r"\(18 channels\): .* nearest are groups=6 and groups=9"):
        insert_blocks(model, places, "srl-fft", input_size=IMAGE)
    for block, options in (("srl-fft", {"groups": 6}), ("srl", {}), ("a2", {"reduction": 3})):
        insert_blocks(model, places, block, input_size=IMAGE, block_options=options)
        assert [b.shape[1] for b in inserted_blocks(model, IMAGE)] == [18, 36, 72, 144]
        remove_blocks(model)


def test_a_detector_with_blocks_detects_what_it_did():
    """Values are real here: where the meta device stops, the network goes on."""
    torch.manual_seed(0)
    model = of_torchvision("fasterrcnn_resnet50_fpn", num_classes=3, min_size=96, max_size=128)
    model.eval()
    pictures = [torch.rand(3, 96, 128), torch.rand(3, 80, 80)]
    with torch.no_grad():
        before = model(pictures)
        insert_blocks(model, ["backbone.body.layer3"], example_inputs=(pictures,))
        after = model(pictures)
        for key in ("boxes", "labels", "scores"):
            assert all(torch.equal(a[key], b[key]) for a, b in zip(after, before, strict=True))
        model.backbone.body["layer3"].srl.alpha.fill_(1.0)
        changed = model(pictures)
    assert any(len(a["scores"]) for a in before)
    assert not all(
        torch.equal(a["scores"], b["scores"]) for a, b in zip(changed, before, strict=True)
    )
