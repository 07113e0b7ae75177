"""Networks of Hugging Face's transformers, built from configurations: nothing is downloaded."""

from __future__ import annotations

import pytest
import torch

from spectral_residual import SRLBlock, insert_blocks, inserted_blocks

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SIZE = (3, 64, 64)
WIDTHS = {"hidden_sizes": [8, 16, 24, 32], "num_labels": 4}


class ResNet(transformers.ResNetForImageClassification):
    """The network with its block, as a user's class."""

    def __init__(self, config):
        super().__init__(config)
        insert_blocks(self, ["resnet.encoder.stages.2"], input_size=SIZE)


class ConvNext(transformers.ConvNextForImageClassification):
    """The same of ConvNeXt."""

    def __init__(self, config):
        super().__init__(config)
        insert_blocks(self, ["convnext.encoder.stages.2"], input_size=SIZE)


CONFIGS = {
    ResNet: lambda: transformers.ResNetConfig(
        embedding_size=8, depths=[1, 1, 2, 1], layer_type="basic", **WIDTHS
    ),
    ConvNext: lambda: transformers.ConvNextConfig(depths=[1, 1, 2, 1], **WIDTHS),
}
by_network = pytest.mark.parametrize("network", CONFIGS)


def stage(network) -> str:
    return f"{network.base_model_prefix}.encoder.stages.2"


def plain(network) -> torch.nn.Module:
    torch.manual_seed(0)
    return network.__base__(CONFIGS[network]()).eval()


def images() -> torch.Tensor:
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trained(request, tmp_path):
    """Logits of a network whose block does something, and the folder that it was saved to."""
    network = request.param
    model = insert_blocks(plain(network), [stage(network)], input_size=SIZE)
    expected = model(images()).logits
    (block,) = (m for m in model.modules() if isinstance(m, SRLBlock))
    block.alpha.data.fill_(0.7)
    with torch.no_grad():
        changed = model(images()).logits
    assert not torch.allclose(changed, expected)
    model.save_pretrained(tmp_path)
    return network, changed, tmp_path


by_trained = pytest.mark.parametrize("trained", CONFIGS, indirect=True)


@by_network
def test_outputs_stay(network):
    model = plain(network)
    expected = model(images()).logits
    names = set(model.state_dict())
    insert_blocks(model, [stage(network)], example_inputs={"pixel_values": images()[:1]})
    assert torch.equal(model(pixel_values=images()).logits, expected)
    assert names < set(model.state_dict())
    assert [b.shape for b in inserted_blocks(model, SIZE)] == [(1, 24, 4, 4)]


@by_trained
def test_first_way_back_build_insert_load(trained):
    from safetensors.torch import load_model

    network, expected, folder = trained
    config = type(CONFIGS[network]()).from_pretrained(folder)
    model = insert_blocks(network.__base__(config), [stage(network)], input_size=SIZE)
    assert load_model(model, folder / "model.safetensors") == (set(), [])
    with torch.no_grad():
        assert torch.equal(model.eval()(images()).logits, expected)


@by_trained
def test_second_way_back_a_class_that_inserts(trained):
    network, expected, folder = trained
    model, report = network.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    with torch.no_grad():
        assert torch.equal(model(images()).logits, expected)


@by_network
def test_weights_without_blocks_are_loaded_before_the_insertion(network, tmp_path):
    model = plain(network)
    model.save_pretrained(tmp_path)
    loaded = network.__base__.from_pretrained(tmp_path)
    insert_blocks(loaded, [stage(network)], input_size=SIZE)
    assert torch.equal(loaded(images()).logits, model(images()).logits)


@by_network
def test_what_does_not_work_is_reported_by_transformers(network, tmp_path):
    """Weights without blocks into a class that inserts them: its blocks hold no values."""
    plain(network).save_pretrained(tmp_path)
    _, report = network.from_pretrained(tmp_path, output_loading_info=True)
    missing = {key for key in report["missing_keys"] if ".srl." in key}
    assert f"{stage(network)}.srl.alpha" in missing


@by_trained
def test_weights_with_blocks_into_a_class_without_are_reported_too(trained):
    network, expected, folder = trained
    model, report = network.__base__.from_pretrained(folder, output_loading_info=True)
    assert f"{stage(network)}.srl.alpha" in report["unexpected_keys"]
    assert not torch.allclose(model(images()).logits, expected)
