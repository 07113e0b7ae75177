"""Two processes with half the batch each do what one process with the whole batch does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keypoint_files import write_split

SCRIPT = Path(__file__).with_name("ddp_training.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("dots")
    write_split(root, "train", 48, seed=1)
    write_split(root, "val", 4, seed=2)
    for processes in (1, 2):
        run = subprocess.run(
            [sys.executable, SCRIPT, root, root, str(processes)],
            capture_output=True, text=True, timeout=300, check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-3000:]
    return {
        name: json.loads((root / f"{name}.json").read_text())
        for name in ("of1_rank0", "of2_rank0", "of2_rank1")
    }


def test_same_losses(results):
    one, two = (np.array(results[name]["losses"]) for name in ("of1_rank0", "of2_rank0"))
    assert len(one) == 20
    assert np.ptp(one) > 0.1 * one[0]
    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_learnt_matrices_are_equal_on_both_processes_and_orthogonal(results):
    first, second = results["of2_rank0"]["matrices"], results["of2_rank1"]["matrices"]
    assert len(first) == 6
    for name, matrix in first.items():
        np.testing.assert_array_equal(matrix, second[name])
        product = np.array(matrix) @ np.array(matrix).T
        assert np.abs(product - np.eye(len(matrix))).max() < 1e-5
        np.testing.assert_allclose(matrix, results["of1_rank0"]["matrices"][name], atol=1e-4)
