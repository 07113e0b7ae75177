"""Every block at the same places of a network: counted, timed, refused."""

from __future__ import annotations

import pytest
import torchvision

from spectral_residual import insert_blocks
from spectral_residual.cost import measure_cost
from spectral_residual.lab.page import choice
from spectral_residual.lab.page.choice import HEADER, Question, compare_blocks


def small(**options):
    given = {"network": "squeezenet1_1", "after": "features.7, features.9", "seconds": 5}
    return Question(**{**given, "height": 64, "width": 64, **options})


@pytest.fixture
def few_blocks(monkeypatch):
    monkeypatch.setattr(choice, "BLOCKS", ("srl", "non-local"))
    monkeypatch.setattr(choice, "TIMM_BLOCKS", ())
    monkeypatch.setattr(choice, "_ROUNDS", 4)


def test_table(few_blocks):
    stages = list(compare_blocks(small()))
    shares = [stage.share for stage in stages]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    rows = [dict(zip(HEADER, row, strict=True)) for row in stages[-1].rows]
    assert [row["block"] for row in rows] == ["none", "srl", "non-local"]
    assert rows[0]["ratio"] == 1
    assert rows[0]["quartiles"] == "1.00 to 1.00"
    assert all(row["ms"] > 0 and row["why not"] == "" for row in rows)
    model = torchvision.models.squeezenet1_1(weights=None)
    assert rows[0]["parameters (M)"] == pytest.approx(
        sum(p.numel() for p in model.parameters()) / 1e6, abs=1e-3
    )
    insert_blocks(model, ["features.7", "features.9"], "srl", input_size=(3, 64, 64))
    cost = measure_cost(model, (3, 64, 64), "exact")
    assert rows[1]["GMAC"] == pytest.approx(cost.operations / 1e9, abs=1e-3)
    assert "squeezenet1_1, 64x64 (H x W), batch 1" in stages[-1].said
    assert "rounds: 4" in stages[-1].said or "rounds: 3" in stages[-1].said


def test_the_trunk_is_shared_and_stays_as_it_is(few_blocks, monkeypatch):
    seen = []
    built = choice._network

    def network(name):
        seen.append(built(name))
        seen.append({key: value.clone() for key, value in seen[0].state_dict().items()})
        return seen[0]

    monkeypatch.setattr(choice, "_network", network)
    list(compare_blocks(small()))
    model, before = seen
    assert model.state_dict().keys() == before.keys()
    assert all((value == before[key]).all() for key, value in model.state_dict().items())


def test_what_is_too_large_is_left_out_with_its_reason(few_blocks, monkeypatch):
    question = small(after="features.0", height=128, width=128)
    plain = choice._largest_tensor(choice._network(question.network), question)
    monkeypatch.setattr(choice, "MOST_TENSOR_BYTES", 2 * plain)
    rows = list(compare_blocks(question))[-1].rows
    reasons = {row[0]: row[-1] for row in rows}
    assert "needs a tensor of" in reasons["non-local"]
    assert reasons["srl"] == ""
    assert rows[2][1:6] == [None] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet19"}, "unknown network 'resnet19'; did you mean"),
        ({"after": "features.99"}, "unknown module 'features.99'"),
        ({"after": "features.0.*"}, r"unknown module pattern 'features\.0\.\*'"),
        ({"network": "vit_b_16", "height": 224, "width": 224, "after": "heads"}, "feature map"),
    ],
)
def test_what_cannot_be(few_blocks, options, message):
    with pytest.raises(ValueError, match=message):
        list(compare_blocks(small(**options)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 8}, "height: got 8, expected a number from 16 to 1024"),
        ({"width": None}, "width: got None"),
        ({"batch": 65}, "batch: got 65"),
        ({"seconds": 1}, "seconds: got 1"),
        ({"after": " , "}, "places: got none"),
    ],
)
def test_questions_have_limits(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_too_many_parameters(monkeypatch):
    monkeypatch.setattr(choice, "MOST_PARAMETERS", 10**6)
    with pytest.raises(ValueError, match="squeezenet1_1 has 1 million parameters"):
        next(compare_blocks(small()))


def test_too_slow(few_blocks, monkeypatch):
    monkeypatch.setattr(choice.time, "perf_counter", iter(range(0, 10**6, 100)).__next__)
    with pytest.raises(ValueError, match="the time is up"):
        list(compare_blocks(small()))
