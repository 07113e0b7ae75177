"""Lightning data module for COCO-format keypoint data of any skeleton."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import printable
from ..training.data_module import DataModule, Loading
from .annotations import (
    Instance,
    KeypointAnnotations,
    annotated_instances,
    detected_instances,
    read_annotations,
)
from .augment import AugmentConfig, PoseAugment
from .checks import short
from .dataset import KeypointDataset, OnBroken, image_instances, list_images
from .layouts import AUTO, find_splits
from .skeleton import Skeleton

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Where one part of the data lies, relative to the root folder.

    Attributes
    ----------
    annotations : str
        COCO keypoint file; ``auto`` finds it.
    images : str
        Folder of the images; ``auto`` finds it. See `find_splits`.
    detections : str or None
        Person detections in COCO's results format, used as boxes in place of the annotated
        ones.
    minimum_score : float
        Detections with a lower score are left out.
    apply_exif : bool
        The annotations refer to pictures that are turned as their EXIF orientation says, as
        most programs show them; by default they refer to the stored rasters.
    files_outside : bool
        Image files may lie outside the folder `images`: names with ``..``, absolute ones and
        symbolic links.
    """

    annotations: str = AUTO
    images: str = AUTO
    detections: str | None = None
    minimum_score: float = 0.0
    apply_exif: bool = False
    files_outside: bool = False


@dataclass(frozen=True)
class Joints:
    """What the annotation files do not say about the joints.

    Attributes
    ----------
    sigmas : dict of str to float or None
        OKS sigma of each joint. By default those of the file, or COCO's for COCO's joints.
    flip_pairs : list of (str, str) or None
        Joints that swap in a mirrored image. By default those of the file, COCO's, or those
        whose names differ only in being left and right; an empty list says that there are none.
    """

    sigmas: dict[str, float] | None = None
    flip_pairs: list[tuple[str, str]] | None = None


@dataclass(frozen=True)
class PredictSource:
    """Images to predict on other than the validation split.

    Attributes
    ----------
    images : str or None
        Folder of images, each taken as one box and turned as its EXIF orientation says. None
        predicts on the test or validation split.
    """

    images: str | None = None


class KeypointDataModule(DataModule):
    """COCO-format keypoint data: official layout by default, any skeleton.

    Parameters
    ----------
    root : str
        Folder that all other paths are relative to.
    train, val : Split
        Training and validation data; by default what is found.
    test : Split, optional
        Test data; the validation split by default.
    predict : PredictSource
        Images to predict on; the test or validation split by default.
    input_size : (int, int)
        Height and width (H, W) of the crops, multiples of the network's stride (32 for a whole
        ResNet).
    joints : Joints
        Sigmas and flip pairs, where the files do not give them.
    augment : AugmentConfig
        Random scale, rotation and flip in training.
    loading : Loading
        Batch size and workers.
    seed : int
        Seed of shuffling and augmentation.

    Attributes
    ----------
    skeleton : Skeleton
        Joints of the data, read from the validation (or training) annotations.
    predicted_files : dict of int to str
        File names by image id, where a folder of images is predicted on.
    """

    unit = "persons"
    file_kind = "image"

    def __init__(
        self,
        root: str,
        train: Split = Split(),
        val: Split = Split(),
        test: Split | None = None,
        predict: PredictSource = PredictSource(),
        input_size: tuple[int, int] = (256, 192),
        joints: Joints = Joints(),
        augment: AugmentConfig = AugmentConfig(),
        loading: Loading = Loading(),
        seed: int = 0,
    ) -> None:
        super().__init__(root, loading, seed)
        self.splits = {"train": train, "val": val, "test": test or val}
        self._not_found = find_splits(self.root, self.splits)
        self.predict_source = predict
        self.predicted_files: dict[int, str] = {}
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.augment = augment
        if {"train", "val"} <= self._not_found.keys():
            self._require("train", "val")
        paths = [self.root / self.splits[name].annotations for name in ("val", "train")]
        described = read_annotations(next((p for p in paths if p.is_file()), paths[0]))
        self._category = described.category
        self.skeleton = Skeleton.from_category(
            described.category,
            source=printable(described.path),
            sigmas=joints.sigmas,
            flip_pairs=joints.flip_pairs,
        )
        stated = (joints.flip_pairs, described.category.get("flip_pairs"))
        self._says_pairs = any(pairs is not None for pairs in stated)

    def check_mirroring(self, option: str) -> None:
        """Raise ValueError if images are to be mirrored and it is not known which joints swap.

        Parameters
        ----------
        option : str
            The option that asks for mirrored images, for the message.
        """
        skeleton = self.skeleton
        if not (skeleton.flip_pairs or self._says_pairs or skeleton.num_joints == 1):
            raise ValueError(
                f"data.joints.flip_pairs: {option} mirrors images, but none of the joints "
                f"{list(skeleton.names)} is known to be the left or right one of two; expected "
                "the pairs of names that swap, or [] if there are none"
                + ("" if skeleton.sigmas else "; data.joints.sigmas are missing as well")
            )

    def annotations(self, split: str) -> KeypointAnnotations:
        """Annotation file of ``"train"``, ``"val"`` or ``"test"``, read once."""
        self._require(split)
        return read_annotations(self.root / self.splits[split].annotations)

    @property
    def category_id(self) -> int:
        """Id of the persons' category in the annotation files."""
        return int(self._category["id"])

    def setup(self, stage: str) -> None:
        """Read the annotations of a stage and check that there is something in them."""
        if stage == "fit":
            self._require("train", "val")
            if self.augment.flip_probability > 0:
                self.check_mirroring("data.augment.flip_probability")
            augment = PoseAugment(self.augment, self.skeleton)
            self._add("train", self._annotated("train"), "replace", augment)
        if stage in ("fit", "validate"):
            self._add("val", self._evaluated("val"), "raise")
        if stage == "test":
            self._add("test", self._evaluated("test"), "raise")
        if stage == "predict":
            folder = self.predict_source.images
            if folder is None:
                instances = self._evaluated("test")
            else:
                images = list_images(folder)
                self.predicted_files = {i: file.name for i, file in enumerate(images)}
                instances = image_instances(images, self.skeleton.num_joints)
            self._add("predict", instances, "report")

    def sample_name(self, index: int) -> str:
        """Image file of a training person."""
        return printable(self.datasets["train"].instances[index].file)

    @property
    def train_source(self) -> Path:
        """Annotation file of the training persons."""
        return self.annotations("train").path

    def _require(self, *splits: str) -> None:
        errors = {str(self._not_found[name]) for name in splits if name in self._not_found}
        if errors:
            raise FileNotFoundError("\n  ".join(sorted(errors, reverse=True)))

    def _folder(self, split: str) -> Path:
        folder = self.root / self.splits[split].images
        if not folder.is_dir():
            raise FileNotFoundError(f"data.{split}.images: no folder {printable(folder)}")
        return folder

    def _checked(self, split: str) -> KeypointAnnotations:
        annotations = self.annotations(split)
        names = tuple(annotations.category["keypoints"])
        if names != self.skeleton.names:
            raise ValueError(
                f"{printable(annotations.path)}: its {len(names)} joints {short(list(names))} are "
                f"not the {self.skeleton.num_joints} joints of the other split "
                f"{short(list(self.skeleton.names))}"
            )
        return annotations

    def _annotated(self, split: str) -> list[Instance]:
        annotations, source = self._checked(split), self.splits[split]
        instances = annotated_instances(
            annotations,
            self._folder(split),
            apply_exif=source.apply_exif,
            files_outside=source.files_outside,
        )
        log.info(
            "%s: %d of %d annotated persons used", split, len(instances),
            len(annotations.annotations),
        )  # fmt: skip
        return instances

    def _evaluated(self, split: str) -> list[Instance]:
        source = self.splits[split]
        if source.detections is None:
            return self._annotated(split)
        return detected_instances(
            self.root / source.detections,
            self._checked(split),
            self._folder(split),
            source.minimum_score,
            apply_exif=source.apply_exif,
            files_outside=source.files_outside,
        )

    def _add(
        self,
        name: str,
        instances: Sequence[Instance],
        on_broken: OnBroken,
        augment: PoseAugment | None = None,
    ) -> None:
        if not instances:
            raise ValueError(f"the {name} data in {printable(self.root)} hold no person to use")
        self.datasets[name] = KeypointDataset(
            instances, self.input_size, augment, seed=self.seed, on_broken=on_broken
        )
