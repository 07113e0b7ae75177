"""Trained video networks by name: what they hold, and the classes of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from ..training.pretrained import PretrainedModel
from .network import C2D, VideoNetwork, described_network, view_probabilities
from .predict import stored_views


class VideoModel(PretrainedModel[C2D]):
    """A trained video network with its classes and how clips are sampled.

    Attributes
    ----------
    classes : tuple of str
        Names, in the order of the scores.
    """

    task: ClassVar[str] = "video"
    hub_task: ClassVar[str] = "video-classification"

    def __init__(self, network: C2D, stored: Mapping[str, Any], *args: Any) -> None:
        super().__init__(network, stored, *args)
        self.classes: tuple[str, ...] = tuple(stored["classes"])

    @classmethod
    def build(cls, stored: Mapping[str, Any]) -> C2D:
        """The network of a description, with any weights."""
        return described_network(stored)

    def details(self) -> dict[str, str]:
        """What the card tells of the network: a line by its name."""
        network = asdict(VideoNetwork(**self.stored["network"]))
        height, width = self.stored["input_size"]
        sampling = self.stored.get("sampling", {})
        lines = {
            "Network": f"Video classification with C2D, {network['backbone']}",
            **self.block_details(network),
            "Input": f"clips of {self.stored['frames']} frames of {height}x{width} (H x W), RGB, "
            "ImageNet mean and deviation",
            "Output": f"scores of {len(self.classes)} classes",
            "Classes": ", ".join(self.classes),
        }
        if sampling:
            views = ", ".join(f"{key} {value}" for key, value in sampling["views"].items())
            lines["Sampling"] = (
                f"stride {sampling['stride']}, short side {sampling['short_side']}; views: {views}"
            )
        return lines

    def predict(self, video: str | Path) -> dict[str, float]:
        """Probabilities of the classes of a video file, the highest first.

        Clips, crops and views are those of the training run.

        Parameters
        ----------
        video : path
            Video file.

        Raises
        ------
        VideoError
            If the video cannot be read.
        ValueError
            If the description does not say how clips are sampled.
        """
        dataset = stored_views("this network", [Path(video)], self.stored, on_broken="raise")
        views = dataset[0]["video"][None].to(self.network.fc.weight.device)
        scores = view_probabilities(self.network, views, dataset.input_size)[0].mean(dim=0)
        order = scores.argsort(descending=True, stable=True).tolist()
        return {self.classes[number]: float(scores[number]) for number in order}


def from_pretrained(name: str | Path, **options: Any) -> VideoModel:
    """Load a trained video network; see `PretrainedModel.from_pretrained`.

    Parameters
    ----------
    name : str or path
        A folder, a checkpoint of training, a name of `packaged_names`, or ``owner/name`` on the
        hub.
    **options
        ``revision``, ``dtype``, and those of `huggingface_hub.snapshot_download`.

    Raises
    ------
    FileNotFoundError
        If there is nothing of that name, here or on the hub.
    ValueError
        If it is not a video network, or its weights are not of the network that is described.
    """
    return VideoModel.from_pretrained(name, **options)
