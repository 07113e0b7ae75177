"""Several processes that share a batch, or the samples, do what one process does alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keypoint_files import write_split

TRAINING = Path(__file__).with_name("ddp_training.py")
EVALUATION = Path(__file__).with_name("ddp_evaluation.py")
COUNTS = ("1", "3", "7", "10")
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("dots")
    write_split(root, "train", 48, seed=1)
    write_split(root, "val", 4, seed=2)
    for count in COUNTS:
        write_split(root, f"val{count}", int(count), seed=3)
    return root


@pytest.fixture(scope="module")
def results(root):
    for processes in (1, 2, 4):
        run(TRAINING, root, root, processes)
    return {path.stem: json.loads(path.read_text()) for path in root.glob("of*_rank*.json")}


@pytest.mark.parametrize("name", ["of2_rank0", "of4_rank0"])
def test_same_losses(results, name):
    one, other = (np.array(results[each]["losses"]) for each in ("of1_rank0", name))
    assert len(one) == 20
    assert np.ptp(one) > 0.1 * one[0]
    np.testing.assert_allclose(other, one, rtol=1e-4)


@pytest.mark.parametrize("processes", [2, 4])
def test_learnt_matrices_are_equal_on_all_processes_and_orthogonal(results, processes):
    first = results[f"of{processes}_rank0"]["matrices"]
    assert len(first) == 6
    for name, matrix in first.items():
        for rank in range(1, processes):
            other = results[f"of{processes}_rank{rank}"]["matrices"][name]
            np.testing.assert_array_equal(matrix, other)
        product = np.array(matrix) @ np.array(matrix).T
        assert np.abs(product - np.eye(len(matrix))).max() < 1e-5
        np.testing.assert_allclose(matrix, results["of1_rank0"]["matrices"][name], atol=1e-4)


def test_every_sample_is_measured_once_whatever_the_number_of_processes(root):
    for processes in (1, 2, 4):
        run(EVALUATION, root, root, processes, *COUNTS)
    for count in COUNTS:
        alone = json.loads((root / f"{count}_of1_rank0.json").read_text())
        for processes in (1, 2, 4):
            for rank in range(processes):
                path = root / f"{count}_of{processes}_rank{rank}.json"
                found = json.loads(path.read_text())
                assert found["metrics"].keys() == alone["metrics"].keys()
                for name, value in alone["metrics"].items():
                    np.testing.assert_allclose(found["metrics"][name], value, atol=1e-9)
                if rank == 0:
                    assert found["seen"][0] == list(range(len(found["seen"][0])))
                    assert found["seen"][0] == alone["seen"][0]
                    np.testing.assert_allclose(found["seen"][1], alone["seen"][1], atol=1e-3)


def test_an_error_of_the_first_process_ends_all(root):
    """Nothing watches over these processes, as on several machines: each must end by itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0"}
    processes = [
        subprocess.Popen(
            [sys.executable, EVALUATION, root, root, "2", "fails"],
            env=ENVIRONMENT | shared | {"LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode != 0 for process in processes)
    assert "ValueError: the evaluation failed" in errors[0]
    assert "the first process failed: ValueError: the evaluation failed" in errors[1]
