"""Generated people: geometry, visibility, symmetry of the sides, and the files in COCO's layout."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools import coco as coco_api
from pycocotools import mask as coco_mask

from spectral_residual.lab.generated import write_people
from spectral_residual.lab.generated.body import Limb, Look, Person, Pose, build_skeleton
from spectral_residual.lab.generated.figure import Part, Solid, build_figure
from spectral_residual.lab.generated.render import KEYPOINT_PARTS, PART_STRIDE, render_scene
from spectral_residual.lab.generated.samples import make_sample
from spectral_residual.lab.generated.sampling import (
    ARM_LIMITS,
    LEG_LIMITS,
    sample_people,
    sample_pose,
)
from spectral_residual.lab.generated.write_people import PeopleOptions, generate_dataset
from spectral_residual.pose.annotations import annotated_instances, read_annotations
from spectral_residual.pose.skeleton import COCO

INDEX = {name: index for index, name in enumerate(COCO.names)}
SIZE = (96, 96)
T_POSE = Pose(left_arm=Limb(abduction=85), right_arm=Limb(abduction=85))


def generate(root, **options):
    return generate_dataset(root, PeopleOptions(**options), progress=False)


def mirrored(person, width):
    """The person whose picture is the mirror image in an image of that width."""
    pose, (x, y) = person.pose, person.position
    mirrored_pose = Pose(
        pose.right_arm,
        pose.left_arm,
        pose.right_leg,
        pose.left_leg,
        pose.spine_bend,
        -pose.spine_side,
        -pose.spine_turn,
        pose.head_nod,
        -pose.head_tilt,
        -pose.head_turn,
    )
    place = (width - 1 - x, y)
    return replace(person, position=place, pose=mirrored_pose, yaw=-person.yaw, roll=-person.roll)


def sampled_people(count, seed=0, size=(192, 192)):
    rng = np.random.default_rng(seed)
    return [sample_people(rng, size, 1)[0] for _ in range(count)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "people"
    summary = generate(root, train_images=52, val_images=50, image_size=SIZE, seed=5)
    return root, summary


@pytest.fixture(scope="module")
def samples():
    return [make_sample("val", index) for index in range(80)]


# Geometry and facing


@pytest.mark.parametrize(
    ("yaw", "roll", "side"), [(0, 0, 1), (25, 10, 1), (180, 0, -1), (-150, -10, -1), (0, 180, -1)]
)
def test_left_is_on_the_images_right_for_people_who_face_the_camera(yaw, roll, side):
    joints = build_skeleton(Person((100, 100), 120, yaw=yaw, roll=roll)).joints
    for part in ("eye", "ear", "shoulder", "hip", "knee", "ankle"):
        assert side * (joints[INDEX[f"left_{part}"], 0] - joints[INDEX[f"right_{part}"], 0]) > 2


def test_side_views_face_where_the_yaw_says():
    for yaw, direction in ((90, 1), (-90, -1)):
        joints = build_skeleton(Person((100, 100), 120, yaw=yaw)).joints
        nose, ears = joints[INDEX["nose"]], joints[INDEX["left_ear"] : INDEX["right_ear"] + 1]
        assert direction * (nose[0] - ears[:, 0].mean()) > 5
        # At yaw 90 the person has turned to their left, so their right side is near the camera.
        depths = joints[[INDEX["left_shoulder"], INDEX["right_shoulder"]], 2]
        assert direction * (depths[0] - depths[1]) > 20


def test_bones_keep_their_lengths_in_every_pose():
    for person in sampled_people(50):
        joints, body, size = build_skeleton(person).joints, person.body, person.stature
        for first, second, share in (
            ("shoulder", "elbow", body.upper_arm),
            ("elbow", "wrist", body.forearm),
            ("hip", "knee", body.thigh),
            ("knee", "ankle", body.shin),
        ):
            for side in ("left", "right"):
                bone = joints[INDEX[f"{side}_{first}"]] - joints[INDEX[f"{side}_{second}"]]
                np.testing.assert_allclose(np.linalg.norm(bone), share * size, rtol=1e-12)


def test_joint_angles_move_the_limb_the_documented_way():
    def wrist(limb):
        joints = build_skeleton(Person((0, 0), 1000, Pose(left_arm=limb))).joints
        return joints[INDEX["left_wrist"]] - joints[INDEX["left_elbow"]]

    # Forearm of 145 px; camera axes are right, down, away, and the person faces the camera.
    np.testing.assert_allclose(wrist(Limb()), (0, 145, 0), atol=1e-9)
    np.testing.assert_allclose(wrist(Limb(flexion=90)), (0, 0, -145), atol=1e-9)
    np.testing.assert_allclose(wrist(Limb(abduction=90)), (145, 0, 0), atol=1e-9)
    np.testing.assert_allclose(wrist(Limb(bend=90)), (0, 0, -145), atol=1e-9)
    np.testing.assert_allclose(wrist(Limb(rotation=90, bend=90)), (-145, 0, 0), atol=1e-9)


def test_joints_lie_in_the_middle_of_the_drawn_limb():
    # Arms run along the rows: in the column of a joint, limb pixels are centred on the joint.
    pose = Pose(left_arm=Limb(abduction=90), right_arm=Limb(abduction=90))
    person = Person((96.3, 110.7), 170, pose)
    scene = render_scene([person])
    part = np.where(scene.parts > 0, scene.parts % PART_STRIDE, -1)
    for name in ("left_elbow", "right_elbow", "left_wrist", "right_wrist"):
        x, y, visible = scene.keypoints[0, INDEX[name]]
        column = round(2 * x + 0.5)
        rows = np.flatnonzero(np.isin(part[:, column], list(KEYPOINT_PARTS[INDEX[name]])))
        assert visible == 2
        assert abs((rows.mean() - 0.5) / 2 - y) < 0.4


def test_the_silhouette_covers_every_joint_of_body_and_limbs():
    checked = 0
    for person in sampled_people(80):
        scene = render_scene([person])
        for x, y, visible in scene.keypoints[0, 5:]:
            if visible > 0:
                checked += 1
                assert scene.silhouettes[0, round(y), round(x)]
    assert checked > 700


# Sides look alike


def test_mirrored_people_give_the_mirrored_picture_with_the_sides_swapped():
    for person in sampled_people(25, seed=2):
        scene = render_scene([person], light=(0.4, -0.8))
        mirror = render_scene([mirrored(person, 192)], light=(-0.4, -0.8))
        difference = np.abs(mirror.image[:, ::-1].astype(int) - scene.image).mean()
        assert difference < 0.15
        expected = scene.keypoints[0][list(COCO.flip_permutation)]
        inside = expected[:, 2] > 0
        np.testing.assert_allclose(
            mirror.keypoints[0, inside, :2], np.abs((191, 0) - expected[inside, :2]), atol=1e-9
        )
        np.testing.assert_array_equal(mirror.keypoints[0, :, 2], expected[:, 2])


def test_mirroring_moves_something():
    person = Person((96, 96), 150, T_POSE, yaw=30, roll=20)
    flipped = render_scene([mirrored(person, 192)]).image[:, ::-1]
    assert np.abs(render_scene([person]).image.astype(int) - flipped).mean() < 0.15
    assert np.abs(render_scene([person]).image.astype(int) - flipped[:, ::-1]).mean() > 3


def test_left_and_right_parts_have_the_same_colours_and_radii():
    for person in sampled_people(20):
        parts = {}
        for solid in build_figure(person)[0]:
            parts.setdefault(solid.part, []).append((solid.colour, solid.radii.tolist()))
        for left in (part for part in Part if part.name.startswith("LEFT_")):
            right = Part[left.name.replace("LEFT_", "RIGHT_")]
            if "EYE" not in left.name:  # the far eye of a side view is not drawn
                assert parts[left] == parts[right]


# Visibility


def test_front_view_shows_all_and_back_view_hides_eyes_and_nose():
    front = render_scene([Person((96, 100), 150, T_POSE)]).keypoints[0]
    back = render_scene([Person((96, 100), 150, T_POSE, yaw=180)]).keypoints[0]
    assert (front[:, 2] == 2).all()
    hidden = {COCO.names[i] for i in np.flatnonzero(back[:, 2] == 1)}
    assert hidden == {"nose", "left_eye", "right_eye"}


def test_side_view_hides_the_far_side():
    reaching = Pose(left_arm=Limb(flexion=60), right_arm=Limb(flexion=60))
    keypoints = render_scene([Person((96, 100), 150, reaching, yaw=90)]).keypoints[0]
    for part in ("eye", "ear", "shoulder", "elbow", "hip"):
        assert keypoints[INDEX[f"right_{part}"], 2] == 2
        assert keypoints[INDEX[f"left_{part}"], 2] == 1


def test_an_arm_behind_the_back_is_covered_and_one_in_front_is_not():
    across = Limb(flexion=35, abduction=-10, rotation=75, bend=105)
    behind = Limb(flexion=-35, abduction=10, rotation=80, bend=80)
    keypoints = render_scene([Person((96, 100), 150, Pose(across, behind))]).keypoints[0]
    assert keypoints[INDEX["left_wrist"], 2] == 2
    assert keypoints[INDEX["right_wrist"], 2] == 1


def test_a_nearer_person_covers_exactly_the_joints_under_their_silhouette():
    covered = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        far, near = sample_people(rng, (192, 192), 2)
        far = replace(far, depth=2)
        near = replace(near, depth=1, position=(far.position[0] + 15, far.position[1] - 5))
        alone, both = render_scene([far]), render_scene([far, near])
        np.testing.assert_array_equal(both.silhouettes[0], alone.silhouettes[0])
        np.testing.assert_array_equal(
            both.keypoints[1], render_scene([near]).keypoints[0], err_msg="nobody covers the near"
        )
        for before, after in zip(alone.keypoints[0], both.keypoints[0], strict=True):
            np.testing.assert_array_equal(before[:2], after[:2])
            if before[2] != 2:
                assert after[2] == before[2]
                continue
            x, y = np.rint(before[:2]).astype(int)
            around = both.silhouettes[1, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            if around.all() or not around.any():
                assert after[2] == (1 if around.all() else 2)
                covered += bool(around.all())
    assert covered > 30


def test_clutter_in_front_covers_and_clutter_behind_does_not():
    person = Person((96, 100), 150, T_POSE)
    elbow = build_skeleton(person).joints[INDEX["left_elbow"]]
    ball = Solid(Part.CLUTTER, elbow[None], np.array([6.0]), (255, 0, 0), 0.0)
    for places, expected in (({"behind": [ball]}, 2), ({"front": [ball]}, 1)):
        scene = render_scene([person], **places)
        assert scene.keypoints[0, INDEX["left_elbow"], 2] == expected
        assert (scene.keypoints[0, :, 2] == 1).sum() == (expected == 1)
        is_red = tuple(scene.image[round(elbow[1]), round(elbow[0])]) == (255, 0, 0)
        assert is_red == (expected == 1)
        assert scene.seen[0] < 1 if expected == 1 else scene.seen[0] == 1


def test_joints_outside_the_image_are_zero():
    keypoints = render_scene([Person((3, 100), 150, T_POSE)]).keypoints[0]
    outside = build_skeleton(Person((3, 100), 150, T_POSE)).joints[:, 0] < 0
    assert 4 < outside.sum() < 10
    np.testing.assert_array_equal(keypoints[outside], 0)
    assert (keypoints[~outside, 2] > 0).all()


# Sampling


def test_sampled_limbs_stay_within_the_limits_and_prefer_no_side():
    rng = np.random.default_rng(0)
    poses = [sample_pose(rng) for _ in range(1500)]
    for limb, limits in (("arm", ARM_LIMITS), ("leg", LEG_LIMITS)):
        low, high = np.array(limits)
        angles = np.array([[getattr(p, f"{s}_{limb}") for p in poses] for s in ("left", "right")])
        assert (angles >= low).all()
        assert (angles <= high).all()
        spread = angles.std(axis=(0, 1))
        difference = angles[0].mean(axis=0) - angles[1].mean(axis=0)
        assert (np.abs(difference) < 5 * spread * np.sqrt(2 / len(poses))).all()


def test_upright_people_stand_or_walk():
    rng = np.random.default_rng(0)
    people = [sample_people(rng, (192, 192), 1, upright=True)[0] for _ in range(200)]
    anybody = [sample_people(rng, (192, 192), 1)[0] for _ in range(200)]
    assert max(abs(person.roll) for person in people) < 35
    assert max(abs(person.yaw) for person in people) > 150, "seen from behind too"
    assert max(abs(person.roll) for person in anybody) > 90
    bends = [[max(p.pose.left_leg.bend, p.pose.right_leg.bend) for p in group]
             for group in (people, anybody)]  # fmt: skip
    assert np.quantile(bends[0], 0.99) < 80 < np.quantile(bends[1], 0.9)


def test_statistics_of_the_scenes(samples):
    keypoints = np.concatenate([sample.scene.keypoints for sample in samples])
    shares = [(keypoints[..., 2] == v).mean() for v in (0, 1, 2)]
    assert 0.02 < shares[0] < 0.15
    assert 0.12 < shares[1] < 0.4
    assert shares[2] > 0.5
    both = keypoints[(keypoints[:, 5:7, 2] > 0).all(axis=1)]
    assert 0.3 < (both[:, 5, 0] > both[:, 6, 0]).mean() < 0.7
    facing = keypoints[(keypoints[:, :3, 2] == 2).all(axis=1)]
    assert 0.2 < len(facing) / len(keypoints) < 0.7
    counts = [len(sample.scene.keypoints) for sample in samples]
    assert set(counts) == {0, 1, 2, 3}
    assert all(sample.scene.seen.min(initial=1) >= 0.15 for sample in samples)


def test_every_person_of_a_sample_has_pixels(samples):
    assert all(s.scene.silhouettes.any(axis=(1, 2)).all() for s in samples)
    assert [i for i, s in enumerate(samples) if s.crowd is not None] == [49]
    assert not len(samples[12].scene.keypoints)


# Files


@pytest.mark.parametrize("split", ["train", "val"])
def test_files_follow_coco(dataset, split):
    root, summary = dataset
    file = root / "annotations" / f"person_keypoints_{split}2017.json"
    api = coco_api.COCO(file)
    assert len(api.imgs) == {"train": 52, "val": 50}[split]
    people = [a for a in api.anns.values() if not a["iscrowd"]]
    assert len(people) == getattr(summary, f"{split}_people")
    assert len({a["id"] for a in api.anns.values()}) == len(api.anns)
    category = api.cats[1]
    assert tuple(category["keypoints"]) == COCO.names
    assert {tuple(np.subtract(edge, 1)) for edge in category["skeleton"]} == set(COCO.edges)
    for image in api.imgs.values():
        assert image["file_name"] == f"{image['id']:012d}.jpg"
        picture = cv2.imread(str(root / f"{split}2017" / image["file_name"]))
        assert picture.shape == (image["height"], image["width"], 3) == (*SIZE, 3)
    assert any(not api.getAnnIds(imgIds=[i]) for i in api.imgs)
    for annotation in people:
        keypoints = np.array(annotation["keypoints"], float).reshape(17, 3)
        x, y, w, h = annotation["bbox"]
        assert min(x, y) >= 0
        assert x + w <= SIZE[1]
        assert y + h <= SIZE[0]
        assert annotation["num_keypoints"] == (keypoints[:, 2] > 0).sum()
        assert set(keypoints[:, 2]) <= {0, 1, 2}
        np.testing.assert_array_equal(keypoints[keypoints[:, 2] == 0], 0)
        seen = keypoints[keypoints[:, 2] == 2, :2]
        assert (seen >= (x - 1.1, y - 1.1)).all()
        assert (seen <= (x + w + 0.1, y + h + 0.1)).all()


def test_box_area_and_polygons_describe_the_silhouette(dataset):
    root, _ = dataset
    api = coco_api.COCO(root / "annotations" / "person_keypoints_val2017.json")
    overlaps = []
    for index in range(50):
        sample = make_sample("val", index, image_size=SIZE, seed=5)
        image_id = sorted(api.imgs)[index]
        records = api.loadAnns(api.getAnnIds(imgIds=[image_id], iscrowd=False))
        assert len(records) == len(sample.scene.silhouettes)
        for record, mask in zip(records, sample.scene.silhouettes, strict=True):
            assert record["area"] == np.count_nonzero(mask)
            rows, columns = np.nonzero(mask)
            assert record["bbox"] == [
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            ]
            assert all(len(polygon) >= 6 for polygon in record["segmentation"])
            drawn = api.annToMask(record) > 0
            # Polygons have no holes, as between an arm and the trunk; compare the filled mask.
            contours, _ = cv2.findContours(
                mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            filled = cv2.drawContours(np.zeros(SIZE, np.uint8), contours, -1, 1, -1) > 0
            overlaps.append((drawn & filled).sum() / (drawn | filled).sum())
    assert np.mean(overlaps) > 0.95
    assert min(overlaps) > 0.8


def test_crowd_is_written_as_run_lengths(dataset):
    root, _ = dataset
    for split in ("train", "val"):
        content = json.loads(
            (root / "annotations" / f"person_keypoints_{split}2017.json").read_text()
        )
        (crowd,) = (a for a in content["annotations"] if a["iscrowd"])
        assert crowd["num_keypoints"] == 0
        assert crowd["keypoints"] == [0] * 51
        runs = crowd["segmentation"]
        assert isinstance(runs["counts"], list)
        decoded = coco_mask.decode(coco_mask.frPyObjects(runs, *SIZE)) > 0
        expected = make_sample(split, 49, image_size=SIZE, seed=5).crowd
        np.testing.assert_array_equal(decoded, expected)
        assert crowd["area"] == expected.sum() > 100


def test_run_lengths_of_masks_that_touch_the_corners():
    rng = np.random.default_rng(0)
    masks = [np.ones((5, 7), bool), np.eye(4, 6, dtype=bool), rng.random((9, 4)) < 0.5]
    for mask in (*masks, ~masks[1], ~masks[2]):
        runs = write_people._run_lengths(mask)
        assert sum(runs["counts"]) == mask.size
        decoded = coco_mask.decode(coco_mask.frPyObjects(runs, *mask.shape))
        np.testing.assert_array_equal(decoded, mask)


def test_the_package_reads_the_files(dataset):
    root, summary = dataset
    annotations = read_annotations(root / "annotations" / "person_keypoints_train2017.json")
    instances = annotated_instances(annotations, root / "train2017")
    assert len(instances) == summary.train_people
    assert all(instance.file.exists() for instance in instances)


def test_same_seed_gives_the_same_bytes_whatever_the_count(dataset, tmp_path):
    root, _ = dataset
    few, other = tmp_path / "few", tmp_path / "other"
    options = {"train_images": 6, "val_images": 3, "image_size": SIZE}
    generate(few, **options, seed=5)
    generate(other, **options, seed=6)
    for split, count in (("train", 6), ("val", 3)):
        pictures = sorted((few / f"{split}2017").iterdir())
        assert len(pictures) == count
        for picture in pictures:
            name = f"{split}2017/{picture.name}"
            assert picture.read_bytes() == (root / name).read_bytes()
            assert picture.read_bytes() != (other / name).read_bytes()
        contents = [
            json.loads((r / "annotations" / f"person_keypoints_{split}2017.json").read_text())
            for r in (few, root)
        ]
        shown = {image["id"] for image in contents[0]["images"]}
        kept = [a for a in contents[1]["annotations"] if a["image_id"] in shown]
        assert contents[0]["annotations"] == kept
    generate(tmp_path / "again", **options, seed=5)
    for file in (path for path in few.rglob("*") if path.is_file()):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(few)).read_bytes()


def test_splits_differ():
    assert (make_sample("train", 0).scene.image != make_sample("val", 0).scene.image).mean() > 0.5


def test_the_same_data_set_is_not_rendered_again(dataset, monkeypatch):
    root, summary = dataset

    def fail(*_, **__):
        raise AssertionError("rendered again")

    monkeypatch.setattr(write_people, "make_sample", fail)
    options = {"train_images": 52, "val_images": 50, "image_size": SIZE}
    assert generate(root, **options, seed=5) == summary
    with pytest.raises(FileExistsError, match=r"another data set.*'seed': 5.*'seed': 4"):
        generate(root, **options, seed=4)


def test_a_damaged_data_set_is_reported(tmp_path):
    options = {"train_images": 2, "val_images": 1, "image_size": SIZE}
    generate(tmp_path / "a", **options)
    (tmp_path / "a" / "train2017" / "000000000002.jpg").unlink()
    with pytest.raises(ValueError, match="train2017: got 1 files, expected 2"):
        generate(tmp_path / "a", **options)
    generate(tmp_path / "b", **options)
    file = tmp_path / "b" / "annotations" / "person_keypoints_train2017.json"
    file.write_text(file.read_text().replace('"iscrowd"', '"crowd"'))
    with pytest.raises(ValueError, match="'annotations' cannot be read; delete"):
        generate(tmp_path / "b", **options)


def test_other_peoples_files_are_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="no generated data set"):
        generate(tmp_path, train_images=1, val_images=1)
    with pytest.raises(FileExistsError, match="no generated data set"):
        generate(tmp_path / "notes.txt", train_images=1, val_images=1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "keep"


def test_an_empty_folder_is_filled_and_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    options = {"train_images": 3, "val_images": 1, "image_size": SIZE}

    def interrupt(split, index, **keywords):
        if index == 2:
            raise KeyboardInterrupt
        return make_sample(split, index, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(write_people, "make_sample", interrupt)
        with pytest.raises(KeyboardInterrupt):
            generate(root, **options)
    assert list(tmp_path.iterdir()) == [root]
    assert list(root.iterdir()) == []
    generate(root, **options)
    assert {path.name for path in root.iterdir()} == {"annotations", "train2017", "val2017"}
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_images": 0}, "train_images must be from 1 to 499,999, got 0"),
        ({"val_images": -1}, "val_images must be from 1"),
        ({"image_size": (32, 192)}, "image_size must be"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


def test_wrong_arguments_of_the_parts_are_refused():
    with pytest.raises(ValueError, match="did you mean 'train'"):
        make_sample("trian", 0)
    with pytest.raises(ValueError, match=r"stature must be above 0 pixels, got -1"):
        Person((0, 0), -1)
    with pytest.raises(ValueError, match=r"uint8 of shape \(192, 192, 3\), got float64"):
        render_scene([], background=np.zeros((192, 192, 3)))


def test_background_and_look_are_used():
    picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(picture, (0, 0), 3)
    empty = render_scene([], size=(64, 80), background=smooth)
    assert empty.keypoints.shape == (0, 17, 3)
    assert np.abs(empty.image.astype(int) - smooth).max() <= 3
    look = Look(shirt=(10, 250, 20))
    scene = render_scene([Person((40, 40), 60, look=look)], size=(64, 80), background=smooth)
    assert tuple(scene.image[35, 40]) == (10, 250, 20)
    np.testing.assert_array_equal(smooth, cv2.GaussianBlur(picture, (0, 0), 3))
