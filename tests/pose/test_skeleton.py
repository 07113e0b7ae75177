"""Skeletons read from COCO categories."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spectral_residual.pose.skeleton import COCO, Skeleton

COCO_EDGES_ONE_BASED = [
    *([16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]),
    *([8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]),
]
TOY = ["head", "left_hand", "right_hand", "tail"]


def read(source="toy.json", sigmas=None, flip_pairs=None, **category):
    return Skeleton.from_category(
        {"name": "toy", **category}, source=source, sigmas=sigmas, flip_pairs=flip_pairs
    )


def test_coco_has_the_published_numbers():
    assert COCO.num_joints == 17
    assert COCO.names[0] == "nose"
    by_part = dict(zip([name.split("_")[-1] for name in COCO.names], COCO.sigmas, strict=True))
    assert by_part == {
        **{"nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072},
        **{"wrist": 0.062, "hip": 0.107, "knee": 0.087, "ankle": 0.089},
    }
    expected = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert COCO.flip_permutation == expected
    assert len(COCO.edges) == 19


def test_permutation_is_an_involution_that_swaps_sides():
    swapped = {"left": "right", "right": "left"}
    for k, partner in enumerate(COCO.flip_permutation):
        assert COCO.flip_permutation[partner] == k
        side, _, part = COCO.names[k].partition("_")
        assert COCO.names[partner] == (f"{swapped[side]}_{part}" if part else side)


def test_the_category_of_the_coco_file_is_coco():
    category = {"keypoints": list(COCO.names), "skeleton": COCO_EDGES_ONE_BASED}
    assert Skeleton.from_category(category, source="person_keypoints.json") == COCO


def test_coco_joints_in_another_order_keep_their_own_values():
    names = list(reversed(COCO.names))
    skeleton = read(keypoints=names)
    assert dict(zip(names, skeleton.sigmas, strict=True)) == dict(
        zip(COCO.names, COCO.sigmas, strict=True)
    )
    named_edges = [tuple(names[joint] for joint in edge) for edge in skeleton.edges]
    assert named_edges == [tuple(COCO.names[joint] for joint in edge) for edge in COCO.edges]
    assert all(
        names[a].split("_")[1] == names[b].split("_")[1] and names[a] != names[b]
        for a, b in skeleton.flip_pairs
    )
    assert len(skeleton.flip_pairs) == 8


@pytest.mark.parametrize(
    "names", [TOY, ["tail", "L_hand", "R_hand"], ["Right hand", "Left hand"], ["r-hip", "l-hip"]]
)
def test_pairs_are_derived_from_names(names):
    skeleton = read(keypoints=names)
    hands = [k for k, name in enumerate(names) if "h" in name and name != "head"]
    assert skeleton.flip_pairs == (tuple(hands),)
    assert skeleton.edges == ()


@pytest.mark.parametrize("pairs", [[["tail", "head"]], [[3, 0]], [[0, "tail"]]])
def test_the_file_overrides_the_names_and_the_argument_the_file(pairs):
    assert read(keypoints=TOY, flip_pairs=None).flip_pairs == ((1, 2),)
    category = {"keypoints": TOY, "flip_pairs": pairs}
    assert Skeleton.from_category(category, source="f").flip_pairs == ((0, 3),)
    given = Skeleton.from_category(category, source="f", flip_pairs=[("right_hand", "tail")])
    assert given.flip_pairs == ((2, 3),)
    assert Skeleton.from_category(category, source="f", flip_pairs=[]).flip_pairs == ()


def test_sigma_of_each_joint_comes_from_argument_then_file_then_coco():
    names = ["nose", "left_hip", "right_hip"]
    assert read(keypoints=names).sigmas == (0.026, 0.107, 0.107)
    category = {"keypoints": names, "sigmas": [0.1, 0.2, 0.3]}
    assert Skeleton.from_category(category, source="f").sigmas == (0.1, 0.2, 0.3)
    given = Skeleton.from_category(category, source="f", sigmas={"left_hip": 0.5})
    assert given.sigmas == (0.1, 0.5, 0.3)
    assert read(keypoints=names, sigmas=[1, 2, 3]).sigmas == (1.0, 2.0, 3.0)
    assert read(keypoints=[*names, "tail"], sigmas={"tail": 0.04}).sigmas[-1] == 0.04


def test_missing_sigmas_are_an_error_only_when_required():
    skeleton = read(keypoints=["nose", "tail", "fin"])
    assert skeleton.sigmas is None
    with pytest.raises(ValueError, match=r"\['tail', 'fin'\].*`sigmas`"):
        skeleton.require_sigmas()
    with pytest.raises(ValueError, match="nose"):
        replace(COCO, sigmas=None).require_sigmas()
    assert COCO.require_sigmas() == COCO.sigmas


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ({}, "keypoints.*list of joint names"),
        ({"keypoints": "nose"}, "keypoints.*list of joint names"),
        ({"keypoints": [1, 2]}, "keypoints.*list of joint names"),
        ({"keypoints": []}, "at least one"),
        ({"keypoints": ["a", "b", "a"]}, r"\['a'\] more than once"),
        ({"keypoints": ["left_hand", "tail"]}, "'left_hand' without 'right_hand'"),
        ({"keypoints": TOY, "flip_pairs": [["left_hnad", "tail"]]}, "did you mean 'left_hand'"),
        ({"keypoints": TOY, "flip_pairs": [[1, 2], [2, 3]]}, r"joint 2 \('right_hand'\)"),
        ({"keypoints": TOY, "flip_pairs": [[1, 1]]}, "with another joint"),
        ({"keypoints": TOY, "flip_pairs": [[1, 4]]}, "index below 4"),
        ({"keypoints": TOY, "flip_pairs": [[-1, 1]]}, "index below 4"),
        ({"keypoints": TOY, "flip_pairs": [[1, 2, 3]]}, "a pair"),
        ({"keypoints": TOY, "flip_pairs": 3}, "list of pairs"),
        ({"keypoints": TOY, "sigmas": [0.1, 0.1]}, "expected 4 numbers"),
        ({"keypoints": TOY, "sigmas": 0.1}, "expected 4 numbers"),
        ({"keypoints": TOY, "sigmas": [0.1, 0, 0.1, 0.1]}, "0.0 for 'left_hand'"),
        ({"keypoints": TOY, "sigmas": [0.1, None, 0.1, 0.1]}, "None for 'left_hand'"),
        ({"keypoints": TOY, "sigmas": [0.1, 0.1, float("nan"), 0.1]}, "nan for 'right_hand'"),
        ({"keypoints": TOY, "sigmas": {"head": 0.1}}, "'left_hand', 'right_hand', 'tail'"),
        ({"keypoints": TOY, "sigmas": {"heda": 0.1}}, "did you mean 'head'"),
        ({"keypoints": TOY, "skeleton": [[0, 1]]}, "1-based"),
        ({"keypoints": TOY, "skeleton": [[4, 5]]}, "1-based"),
        ({"keypoints": TOY, "skeleton": [[4]]}, "1-based"),
        ({"keypoints": TOY, "skeleton": 1}, "list of pairs"),
    ],
)
def test_errors_name_file_and_field(category, message):
    with pytest.raises(ValueError, match=rf"^toy\.json: .*{message}"):
        Skeleton.from_category(category, source="toy.json")


def test_errors_of_arguments_name_the_argument():
    with pytest.raises(ValueError, match=r"^toy\.json: argument flip_pairs.*did you mean 'tail'"):
        read(keypoints=TOY, flip_pairs=[("head", "tial")])
    with pytest.raises(ValueError, match=r"^toy\.json: argument sigmas.*expected 4"):
        read(keypoints=TOY, sigmas=[0.1])


@pytest.mark.parametrize("skeleton", [COCO, Skeleton(("a", "b"), (), None, ((0, 1),))])
def test_dict_round_trip_through_json(skeleton):
    restored = Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict())))
    assert restored == skeleton
    assert hash(restored) == hash(skeleton)
    assert restored != replace(skeleton, edges=())


def test_from_dict_names_missing_fields():
    with pytest.raises(ValueError, match=r"expected also \['edges', 'sigmas'\]"):
        Skeleton.from_dict({"names": ["a"], "flip_pairs": []})


def test_indices_of_numpy_are_plain_ones():
    pairs = np.array([[0, 1]])
    skeleton = Skeleton(("left", "right"), pairs, None, pairs)
    assert skeleton == Skeleton(("left", "right"), ((0, 1),), None, ((0, 1),))
    json.dumps(skeleton.to_dict())
    with pytest.raises(ValueError, match="names: got 2, expected text"):
        Skeleton(("a", 2), (), None, ())


def test_edges_out_of_range_are_refused_when_built():
    with pytest.raises(ValueError, match=r"edges: got \(0, 2\)"):
        Skeleton(("a", "b"), (), None, ((0, 2),))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ear_left", "ear_right"),
        ("hand_l", "hand_r"),
        ("leftEar", "rightEar"),
        ("EarLeft", "EarRight"),
        ("LHand", "RHand"),
        ("handL", "handR"),
        ("arm.left.elbow", "arm.right.elbow"),
        ("front left paw", "front right paw"),
        ("lefteye", "righteye"),
        ("eyeleft", "eyeright"),
        ("LEFT-KNEE", "RIGHT-KNEE"),
        ("left", "right"),
        ("knee (l)", "knee (r)"),
        ("kp1_left2", "kp1_right2"),
        ("Left_hip", "right_hip"),
    ],
)
def test_sides_are_found_wherever_they_stand(first, second):
    assert read(keypoints=["nose", first, second, "tail"]).flip_pairs == ((1, 2),)
    assert read(keypoints=[second, "nose", first]).flip_pairs == ((0, 2),)


@pytest.mark.parametrize(
    "names",
    [
        ["bright", "slight", "top"],
        [*"klmr"],
        ["p_k", "p_l", "p_q", "p_r"],
        ["rear", "lear", "hair"],
        ["cleft", "chin"],
    ],
    ids=" ".join,
)
def test_letters_that_are_no_sides(names):
    assert read(keypoints=names).flip_pairs == ()


@pytest.mark.parametrize("name", ["ear_left", "RightEar", "hand_l", "arm.right"])
def test_a_side_alone_asks_for_pairs(name):
    with pytest.raises(ValueError, match=f"got '{name}' without .*flip_pairs"):
        read(keypoints=["nose", name])
    assert read(keypoints=["nose", name], flip_pairs=[]).flip_pairs == ()


def test_a_middle_beside_two_sides():
    assert read(keypoints=["hip_l", "hip_m", "hip_r"]).flip_pairs == ((0, 2),)
    assert read(keypoints=["left_l", "left_r", "right_l", "right_r"]).flip_pairs == ((0, 2), (1, 3))
