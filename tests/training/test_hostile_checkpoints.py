"""Checkpoints that are damaged, or demand more than they contain."""

from __future__ import annotations

import json
import resource
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from coloured_videos import write_split
from small_checkpoints import changed, make

from spectral_residual.cli import main
from spectral_residual.pose import load_pose_network
from spectral_residual.pose.own_data import with_network
from spectral_residual.training.checkpoint import read_file
from spectral_residual.video import load_video_network

LOAD = {"pose": load_pose_network, "video": load_video_network}
SECONDS, MEMORY = 10, 2**30


@pytest.fixture(scope="module", params=["pose", "video"])
def sound(request, tmp_path_factory):
    """Task, checkpoint and its file."""
    path = tmp_path_factory.mktemp(request.param) / "sound.ckpt"
    content = make(request.param)
    torch.save(content, path)
    return request.param, content, path


def memory():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def refused(load, path, message=""):
    begin, before = time.monotonic(), memory()
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert time.monotonic() - begin < SECONDS
    assert memory() - before < MEMORY


BOTH = [
    ({"network__backbone": "resnet152"}, "weights are of another network"),
    ({"network__block": None, "network__block_options": {}}, "weights are of another network"),
    ({"network__block_options": {"modes": 4, "hidden_layers": 10**8}}, "describes no"),
    ({"network__block_options": {"modes": 10**9}}, "describes no"),
    ({"network__block_options": {"modes": [10**9, 3]}}, "describes no"),
    ({"network__block_options": {"hidden_layers": 50}}, "no network"),
    ({"network__block_options": [1]}, "describes no"),
    ({"network__block_options": {"x": 1}}, "no network: .*unknown option"),
    ({"network__block_after": ["x"]}, "no network: unknown module"),
    ({"network__block_after": 5}, "no network"),
    ({"network__block": "antigravity:f"}, "code outside this package"),
    ({"network__block": "os:system"}, "no network"),
    ({"network__new": 1}, "no network: TypeError"),
    ({"network": [1]}, "describes no"),
    ({"input_size": [10**6, 10**6]}, "input_size: got .* up to 8192"),
    ({"input_size": [64.0, 64]}, "input_size"),
    ({"input_size": [64]}, "input_size"),
    ({"input_size": [-64, 64]}, "input_size"),
    ({"input_size": None}, "input_size"),
]
POSE = [
    ({"network__deconv_channels": 2**20}, "d1.0.weight: shape .* in the checkpoint, .*1048576"),
    ({"network__stages": 4}, "weights are of another network"),
    ({"skeleton": 5}, "skeleton: got 5"),
    ({"skeleton__names": list("abc")}, "no network"),
    ({"skeleton__names": list(range(17))}, "no network: names: got .*, expected a list"),
    ({"skeleton__names": [[n] for n in range(17)]}, "no network: names: got .*, expected a list"),
    ({"skeleton__edges": [[0, 1.5]]}, "no network: edges: got 1.5, expected a joint"),
    ({"skeleton__edges": [[0, 17]]}, "no network: edges: got 17, expected a joint"),
    ({"skeleton__flip_pairs": [["a", "b"]]}, "no network: flip_pairs: unknown joint 'a'"),
    ({"skeleton__names": [f"j{n}" for n in range(10**5)]}, "skeleton: got .* up to 1000"),
]
VIDEO = [
    ({"frames": 10**9}, "frames: got 1000000000, expected a number up to"),
    ({"frames": 4096}, "weights are of another network"),
    ({"frames": 3}, "no network"),
    ({"frames": True}, "frames"),
    ({"classes": [f"c{n}" for n in range(2**17)]}, "fc.weight: shape .*131072"),
    ({"classes": ["a", "a", "b"]}, "classes: .* different names"),
    ({"classes": "abc"}, "classes"),
]


@pytest.mark.parametrize("number", range(len(BOTH) + max(len(POSE), len(VIDEO))))
def test_what_a_checkpoint_may_demand(sound, tmp_path, number):
    task, content, _ = sound
    cases = [*BOTH, *(POSE if task == "pose" else VIDEO)]
    if number >= len(cases):
        return
    entries, message = cases[number]
    path = tmp_path / "other.ckpt"
    torch.save(changed(content, task, **entries), path)
    refused(LOAD[task], path, message)


def test_weights_of_trunks_are_not_fetched(sound, tmp_path):
    task, content, _ = sound
    torch.save(changed(content, task, network__weights="IMAGENET1K_V1"), tmp_path / "a.ckpt")
    LOAD[task](tmp_path / "a.ckpt")


def test_a_command_takes_no_code_and_no_weights_from_a_checkpoint(sound, tmp_path):
    """Where ``srl pose`` has no --config, the network of the checkpoint is as if it was typed."""
    task, content, _ = sound
    if task == "video":
        return
    path = tmp_path / "a.ckpt"
    options = ["--ckpt_path", str(path), "--data.root", "data"]
    torch.save(changed(content, task, network__weights="IMAGENET1K_V1"), path)
    arguments = with_network(["validate", *options])
    network = json.loads(arguments[arguments.index("--model.network") + 1])
    assert network["backbone"] == "resnet18"
    assert "weights" not in network
    torch.save(changed(content, task, network__block="antigravity:f"), path)
    with pytest.raises(
        ValueError, match=r"code outside .* trust it by --model\.network\.block ant"
    ):
        with_network(["validate", *options])
    with_network(["validate", *options, "--model.network.block", "antigravity:f"])
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(()).expand(64),
        torch.sparse_coo_tensor(torch.zeros(2, 1).long(), torch.ones(1), (10**6, 10**6)),
        torch.zeros(64, device="meta"),
        torch.zeros(64).to(torch.float8_e4m3fn),
        torch.quantize_per_tensor(torch.zeros(64), 0.1, 0, torch.quint8),
    ],
    ids=["huge", "expanded", "sparse", "meta", "eight", "quantized"],
)
def test_weights_that_the_file_does_not_hold(sound, tmp_path, value):
    task, content, _ = sound
    name = "network.backbone.bn1.weight"
    torch.save(
        {**content, "state_dict": content["state_dict"] | {name: value}}, tmp_path / "a.ckpt"
    )
    refused(
        LOAD[task],
        tmp_path / "a.ckpt",
        f"{name}, .* expected every number in the file|not a readable",
    )


def test_archives_that_unpack_to_more(sound, tmp_path):
    """PyTorch does not compress; 100 KB of zeros would become 100 MB."""
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(sound[2]) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        new.writestr("archive/data/99999", bytes(10**8))
    refused(read_file, path, "would unpack to")


def test_weights_without_names(sound, tmp_path):
    _, content, _ = sound
    state = content["state_dict"] | {0: torch.zeros(1)}
    torch.save({**content, "state_dict": state}, tmp_path / "a.ckpt")
    refused(read_file, tmp_path / "a.ckpt", "no state_dict of named weights")


def flipped(content, rng):
    content = bytearray(content)
    near_an_end = int(rng.choice([0, len(content) - 4000])) + int(rng.integers(4000))
    place = near_an_end if rng.random() < 0.7 else int(rng.integers(len(content)))
    length = int(rng.integers(1, 40))
    kind = rng.integers(4)
    if kind == 0:
        del content[place:]
    elif kind == 1:
        del content[place : place + length]
    elif kind == 2:
        content[place:place] = rng.bytes(length)
    else:
        content[place : place + length] = rng.bytes(length)
    return bytes(content)


JUNK = [None, True, -1, 0, 3.5, float("nan"), 2**20, 10**30, "", "srl-lo", [], {}, [10**9] * 2]


def places(tree, place=()):
    if place:
        yield place
    if not isinstance(tree, (dict, list)):
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from places(value, (*place, key))


def test_damaged_checkpoints_are_loaded_or_refused(sound, tmp_path):
    task, content, file = sound
    rng, path = np.random.default_rng(14), tmp_path / "damaged.ckpt"
    for number in range(40):
        if number % 2:
            path.write_bytes(flipped(file.read_bytes(), rng))
        else:
            other = changed(content, task)
            described = other[f"spectral_residual_{task}"]
            found = list(places(described))
            *outer, last = found[rng.integers(len(found))]
            inner = described
            for key in outer:
                inner = inner[key]
            inner[last] = JUNK[rng.integers(len(JUNK))]
            torch.save(other, path)
        begin, before = time.monotonic(), memory()
        try:
            LOAD[task](path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
        assert time.monotonic() - begin < SECONDS
        assert memory() - before < MEMORY


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"sampling__views": {"clips": 10**8}}, "views.clips: got 100000000, expected"),
        ({"sampling__views": {"clips": 9000}, "sampling__stride": 10**9}, "stride: got"),
        ({"sampling__views": {"clips": 2.5}}, "views.clips: got 2.5"),
        ({"sampling__views": {"clips": 2, "crops": 7}}, "crops 1 or 3"),
        ({"sampling__views": {"clips": 2, "x": 7}}, "TypeError"),
        ({"sampling__views": 3}, "sampling cannot be used"),
        ({"sampling__short_side": 10**9}, "short_side: got 1000000000"),
        ({"sampling__short_side": 8}, "short_side: got 8, expected at least"),
        ({"sampling__short_side": "36"}, "short_side: got 36"),
        ({"sampling": {}}, "sampling cannot be used: KeyError: 'views'"),
        ({"sampling": None}, "sampling cannot be used"),
    ],
)
def test_absurd_sampling_is_said(tmp_path, entries, message, capsys):
    write_split(tmp_path, "val", 1, seed=1)
    torch.save(changed(make("video"), "video", **entries), tmp_path / "a.ckpt")
    video = str(tmp_path / "val/red/0.mp4")
    arguments = ["--ckpt", str(tmp_path / "a.ckpt"), "--output", str(tmp_path / "out"), video]
    assert main(["video", "predict", *arguments]) == 2
    error = capsys.readouterr().err
    assert "a.ckpt: its sampling cannot be used" in error
    assert message in error
    assert not (tmp_path / "out").exists()
