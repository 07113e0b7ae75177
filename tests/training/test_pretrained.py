"""Trained networks as folders, by name and from a hub."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from local_hub import OWNED, serve
from safetensors.torch import load_file, save_file
from small_checkpoints import changed, make

from spectral_residual import pose, video
from spectral_residual.cli import main
from spectral_residual.training import hub
from spectral_residual.training.hub import CONFIG, WEIGHTS, locate, packaged_names
from spectral_residual.training.pretrained import About
from spectral_residual.training.publish import gather_about

LOAD = {"pose": pose.from_pretrained, "video": video.from_pretrained}
SHAPES = {"pose": (1, 3, 64, 64), "video": (1, 3, 4, 32, 32)}


@pytest.fixture(scope="module", params=["pose", "video"])
def written(request, tmp_path_factory):
    """Task, checkpoint's content and the model of its file."""
    torch.manual_seed(0)
    content, path = make(request.param), tmp_path_factory.mktemp(request.param) / "last.ckpt"
    for name, value in content["state_dict"].items():
        if name.endswith("alpha"):
            value.fill_(0.3)
    torch.save(content, path)
    return request.param, content, LOAD[request.param](path)


@pytest.fixture
def folder(written, tmp_path):
    return written[2].save_pretrained(tmp_path / "small")


def output(model, task):
    with torch.no_grad():
        return model.network(
            torch.sin(0.01 * torch.arange(torch.Size(SHAPES[task]).numel())).reshape(SHAPES[task])
        )


def test_a_folder_gives_the_same_network(written, folder):
    task, _, model = written
    again = LOAD[task](str(folder))
    assert not again.network.training
    state = again.network.state_dict()
    for name, value in model.network.state_dict().items():
        assert torch.equal(state[name], value), name
    assert again.stored == json.loads(json.dumps(model.stored))
    torch.testing.assert_close(output(again, task), output(model, task))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CONFIG, WEIGHTS]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1, "all may be read alike"
    assert "backbone.conv1.weight" in load_file(folder / WEIGHTS)
    config = json.loads((folder / CONFIG).read_text())
    assert config["task"] == task
    assert config["network"]["backbone"] == "resnet18"


def test_half_precision_halves_the_file_and_is_float32_when_loaded(written, folder, tmp_path):
    task, _, model = written
    half = model.save_pretrained(tmp_path / "half", half=True)
    sizes = [(path / WEIGHTS).stat().st_size for path in (half, folder)]
    assert 0.5 < sizes[0] / sizes[1] < 0.53
    state, expected = LOAD[task](half).network.state_dict(), model.network.state_dict()
    for name, value in expected.items():
        assert state[name].dtype == value.dtype, name
        tolerance = {"rtol": 2**-10, "atol": 1e-7} if value.ndim > 1 else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(state[name], value, **tolerance, msg=name)
    other = LOAD[task](half, dtype=torch.bfloat16)
    assert other.network.backbone.conv1.weight.dtype == torch.bfloat16


def test_what_does_not_fit_into_half_precision_is_not_written(written, tmp_path):
    task, content, _ = written
    name = "network.backbone.layer1.0.conv1.weight"
    state = content["state_dict"] | {name: 1e6 * torch.ones(64, 64, 3, 3)}
    torch.save({**content, "state_dict": state}, tmp_path / "large.ckpt")
    with pytest.raises(ValueError, match=r"layer1\.0\.conv1\.weight do not fit into half"):
        LOAD[task](tmp_path / "large.ckpt").save_pretrained(tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()


def test_names_of_the_package(written, tmp_path, monkeypatch):
    task, _, model = written
    monkeypatch.setattr(hub, "PACKAGED", tmp_path / "weights")
    with pytest.raises(ValueError, match="network of this package 'tiny-net'; known: none"):
        LOAD[task]("tiny-net")
    model.save_pretrained(tmp_path / "weights" / "tiny-net")
    assert packaged_names() == ["tiny-net"]
    torch.testing.assert_close(output(LOAD[task]("tiny-net"), task), output(model, task))
    with pytest.raises(ValueError, match="'tiny-nat'; did you mean 'tiny-net'"):
        LOAD[task]("tiny-nat")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint tiny\.ckpt"):
        LOAD[task]("tiny.ckpt")
    with pytest.raises(ValueError, match="'v1' for tiny-net, which has no history"):
        LOAD[task]("tiny-net", revision="v1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-net").mkdir()
    assert str(locate("tiny-net")) == "tiny-net", "what exists comes first"


def test_a_network_of_another_task(written, folder):
    task = written[0]
    other = {"pose": "video", "video": "pose"}[task]
    with pytest.raises(ValueError, match=f"not a checkpoint of a {other} model"):
        LOAD[other](folder)


def test_from_a_hub_with_revisions_and_without_it(written, folder, tmp_path):
    """Downloaded by huggingface_hub from a server of the test; afterwards from its cache."""
    task, content, model = written
    state = {name: 2 * value for name, value in content["state_dict"].items()}
    torch.save({**content, "state_dict": state}, tmp_path / "old.ckpt")
    old = LOAD[task](tmp_path / "old.ckpt")
    first = old.save_pretrained(tmp_path / "old")
    options = {"cache_dir": tmp_path / "cache"}
    with serve(main=folder, v1=first) as address:
        got = LOAD[task](OWNED, endpoint=address, **options)
        by_option = LOAD[task](OWNED, revision="v1", endpoint=address, **options)
        by_name = LOAD[task](f"{OWNED}@v1", endpoint=address, **options)
        for name, message in (
            (f"{OWNED}@v2", r"hub \(revision v2\): RevisionNotFoundError: "),
            ("someone/else", "from the hub: RepositoryNotFoundError: "),
        ):
            with pytest.raises(FileNotFoundError, match=f"no file or folder .*{message}"):
                LOAD[task](name, endpoint=address, **options)
        with pytest.raises(ValueError, match="got revision 'main' and .*expected one revision"):
            LOAD[task](f"{OWNED}@v1", revision="main", endpoint=address)
        with pytest.raises(TypeError, match="colour"):
            LOAD[task](OWNED, colour="red")
    torch.testing.assert_close(output(got, task), output(model, task))
    for other in (by_option, by_name):
        torch.testing.assert_close(output(other, task), output(old, task))
    cached = LOAD[task](OWNED, local_files_only=True, **options)
    torch.testing.assert_close(output(cached, task), output(model, task))
    unreached = LOAD[task](OWNED, endpoint=address, **options)
    torch.testing.assert_close(output(unreached, task), output(model, task))
    with pytest.raises(FileNotFoundError, match="LocalEntryNotFoundError"):
        LOAD[task](OWNED, local_files_only=True, cache_dir=tmp_path / "empty")


def test_without_huggingface_hub(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'no file or folder .*"spectral_residual\[pose\]"'
    ):
        LOAD[written[0]](OWNED)


class Api:
    """Takes the place of `huggingface_hub.HfApi`."""

    calls: list[tuple[str, dict[str, object]]]

    def __init__(self, **options):
        type(self).calls = [("init", options)]

    def create_repo(self, **options):
        self.calls.append(("repo", options))
        return type("Repo", (), {"repo_id": f"someone/{options['repo_id'].rpartition('/')[2]}"})

    def create_branch(self, **options):
        self.calls.append(("branch", options))

    def upload_folder(self, *, folder_path, **options):
        files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        self.calls.append(("upload", {**options, "files": files}))
        if options.get("commit_message") == "refuse":
            raise ConnectionError("the hub refuses\nbecause")
        return "https://hub/commit"


def test_push_to_hub(written, monkeypatch):
    _, _, model = written
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    address = model.push_to_hub("small", half=True, private=True, revision="v2", token="secret")
    assert address == "https://hub/commit"
    calls = dict(Api.calls)
    assert calls["init"]["token"] == "secret"
    assert calls["repo"] == {"repo_id": "small", "private": True, "exist_ok": True}
    assert calls["branch"]["branch"] == calls["upload"]["revision"] == "v2"
    assert set(calls["upload"]["files"]) == {"README.md", CONFIG, WEIGHTS}
    assert calls["upload"]["repo_id"] == "someone/small"
    card = calls["upload"]["files"]["README.md"].decode()
    assert card == model.card("someone/small")
    assert 'from_pretrained("someone/small")' in card
    with pytest.raises(OSError, match="small on the hub: ConnectionError: the hub refuses$"):
        model.push_to_hub("small", commit_message="refuse")


HOSTILE = [
    ({CONFIG: None}, f"no {CONFIG}"),
    ({WEIGHTS: None}, f"no {WEIGHTS}"),
    ({CONFIG: b"{"}, f"{CONFIG} is no JSON"),
    ({CONFIG: b"\xff"}, f"{CONFIG} is no JSON"),
    ({CONFIG: b"[" * 10**6}, f"{CONFIG} is no JSON"),
    ({CONFIG: b"[]"}, "not of a network of this package"),
    ({CONFIG: b'{"model_type": "vit"}'}, "not of a network of this package"),
    ({CONFIG: b'{"library": "spectral_residual"}'}, "names no task"),
    ({CONFIG: b" " * 2**25}, "33554432 bytes, more than"),
    ({WEIGHTS: b""}, f"{WEIGHTS} cannot be read"),
    ({WEIGHTS: b"\xff" * 100}, f"{WEIGHTS} cannot be read"),
    ({WEIGHTS: (2**40).to_bytes(8, "little")}, f"{WEIGHTS} cannot be read"),
]


@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_damaged_folders(written, folder, case):
    files, message = HOSTILE[case]
    for name, content in files.items():
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as caught:
        LOAD[written[0]](folder)
    assert str(caught.value).startswith(f"{folder}: ")


DEMANDS = [
    ({"network__block": "os:system"}, "no network"),
    ({"network__backbone": "resnet152"}, "weights are of another network"),
    ({"network__block_options": {"modes": 10**9}}, "describes no"),
    ({"input_size": [10**6, 10**6]}, "input_size: got"),
    ({"input_size": [64.0, 64]}, "input_size: got"),
    ({"about": 5}, "about: got 5"),
    ({"about": {"code": "x"}}, "about: got"),
    ({"about": {"metrics": {"val": {"AP": "high"}}}}, "about: got"),
    ({"about": {"training": [1]}}, "about: got"),
    ({"about": {"licence": ["mit"]}}, "about: got"),
]


@pytest.mark.parametrize("case", range(len(DEMANDS)))
def test_what_a_folder_may_demand(written, folder, case):
    task, content, _ = written
    entries, message = DEMANDS[case]
    described = changed(content, task, **entries)[f"spectral_residual_{task}"]
    config = {"library": "spectral_residual", "task": task, **described}
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as caught:
        LOAD[task](folder)
    assert str(caught.value).startswith(f"{folder}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(written, folder, value):
    state = load_file(folder / WEIGHTS)
    state["backbone.bn1.weight"][3] = value
    save_file(state, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"weights network\.backbone\.bn1\.weight are not finite"):
        LOAD[written[0]](folder)


def metadata_of(card):
    _, metadata, text = card.split("---\n", 2)
    return yaml.safe_load(metadata), text


def test_the_card_says_what_is_known(written, tmp_path):
    task, _, model = written
    about = About(
        data="made | of\n<b>dots</b>", licence="cc-by-4.0", metrics={"val": {"AP": 0.123456}},
        training={"Epochs": "3"},
    )  # fmt: skip
    described = {**model.stored, "about": {"data": "x"}}
    other = type(model)(model.network, described, about)
    metadata, text = metadata_of(
        (other.save_pretrained(tmp_path / "net") / "README.md").read_text()
    )
    assert metadata["license"] == "cc-by-4.0"
    expected = {"pose": "keypoint-detection", "video": "video-classification"}
    assert metadata["pipeline_tag"] == expected[task]
    assert "# net\n" in text
    assert "made | of &lt;b>dots&lt;/b>" in text
    assert re.search(r"\| AP +\| +0.1235 \|", text)
    assert "* Epochs: 3" in text
    assert "* Protocol: not stated" in text
    assert f"srl {task} predict --ckpt net" in text
    assert "`srl" in text
    again = LOAD[task](tmp_path / "net")
    assert again.about == about
    assert again.card("net") == other.card("net")


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("cc-by-nc-sa-4.0", {"license": "cc-by-nc-sa-4.0"}),
        ("proprietary", {"license": "other", "license_name": "proprietary"}),
        ("Research use: data (2020)", {"license": "other", "license_name": "research-use"}),
        ("研究", {"license": "other", "license_name": "other"}),
        (None, {}),
    ],
)
def test_the_hub_knows_the_licence(written, licence, expected):
    _, _, model = written
    other = type(model)(model.network, model.stored, About(licence=licence))
    metadata, text = metadata_of(other.card("net"))
    assert {key: metadata[key] for key in metadata if key.startswith("license")} == expected
    assert f"\n{licence or 'Not stated'}. The code" in text


def test_publish_reads_what_the_run_left(written, tmp_path, capsys):
    content = written[1]
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    torch.save({**content, "epoch": 4, "global_step": 70}, run / "checkpoints/last.ckpt")
    config = {
        "data": {
            "root": "/home/someone/dots",
            "train": {"annotations": "train.json"},
            "val": {"annotations": "/home/someone/dots/val.json", "detections": None},
            "loading": {"batch_size": 8},
        },
        "model": {
            "network": {"weights": "/home/someone/r18.pth"},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
            "evaluation": {"flip_test": False},
        },
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics_val.json").write_text('{"AP": 0.5, "AR": 0.25}')
    out = tmp_path / "out"
    arguments = ["publish", "--ckpt", str(run / "checkpoints/last.ckpt"), "--output", str(out)]
    more = ["--metrics", str(run / "metrics_val.json"), "--name", "someone/dots", "--half"]
    assert main([*arguments, *more, "--licence", "mit"]) == 0
    assert f"{WEIGHTS}: " in capsys.readouterr().out
    card = (out / "README.md").read_text()
    for line in (
        "# someone/dots", "* Data: dots: train.json", "* Epochs: 5", "* Steps: 70", "* Batch: 8",
        "* Optimiser: AdamW (lr 0.003)", "* Initial weights: trunk: r18.pth",
        "* Protocol: annotated boxes; flip test False", "Measured on val (dots: val.json):",
        'license: "mit"',
    ):  # fmt: skip
        assert f"{line}\n" in card, line
    assert "/home" not in card + (out / CONFIG).read_text()
    # Published again, it keeps what is not said anew.
    assert main(["publish", "--ckpt", str(out), "--output", str(out), "--data", "many dots"]) == 0
    again = (out / "README.md").read_text()
    assert "* Data: many dots\n" in again
    assert 'license: "mit"' in again
    assert "* Epochs: 5\n" in again
    for wrong, message in (("none.json", "no metrics file"), ("config.yaml", "no JSON")):
        assert main([*arguments, "--metrics", str(run / wrong)]) == 2
        assert message in capsys.readouterr().err
    for content, message in (
        ('{"AP": "high"}', "expected finite numbers by their names"),
        ('{"AP": Infinity}', "expected finite numbers by their names"),
        ('{"AP": -1, "PCK": null}', "nothing was measured"),
        ("{}", "nothing was measured"),
    ):
        (run / "metrics_val.json").write_text(content)
        assert main([*arguments, "--metrics", str(run / "metrics_val.json")]) == 2
        assert message in capsys.readouterr().err


def test_the_run_is_found_from_within_its_folder(written, tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    torch.save(written[1], tmp_path / "checkpoints/best.ckpt")
    (tmp_path / "config.yaml").write_text("data: {loading: {batch_size: 8}}")
    monkeypatch.chdir(tmp_path / "checkpoints")
    assert gather_about("best.ckpt", [], About()).training["Batch"] == "8"


def test_export_takes_a_folder(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    torch.save(make("pose"), tmp_path / "last.ckpt")
    folder = LOAD["pose"](tmp_path / "last.ckpt").save_pretrained(tmp_path / "small")
    arguments = ["export", "--ckpt", str(folder), "--output", str(tmp_path / "onnx")]
    assert main([*arguments, "--rounds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["task"] == "pose"
    assert main(["export", "--ckpt", "none-such", "--output", str(tmp_path / "onnx")]) == 2
    assert "network of this package 'none-such'" in capsys.readouterr().err
