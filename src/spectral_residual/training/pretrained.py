"""Trained networks with what is said of them: loaded by name, saved, published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from ..report.card import model_card
from .checkpoint import load_network
from .folder import write_folder
from .hub import locate, push_folder

Network = TypeVar("Network", bound=nn.Module)
Model = TypeVar("Model", bound="PretrainedModel[Any]")

ABOUT = "about"


@dataclass(frozen=True)
class About:
    """What a model card says beside what the network itself does.

    Attributes
    ----------
    data : str or None
        What the network was trained on.
    protocol : str or None
        How it was evaluated.
    licence : str or None
        Licence of the weights: one of the hub's identifiers, e.g. ``apache-2.0``, or words.
    metrics : dict of str to dict of str to float
        What was measured, by the name of the data: as ``metrics_val.json`` has it.
    training : dict of str to str
        How it was trained, e.g. ``{"epochs": "140"}``.
    """

    data: str | None = None
    protocol: str | None = None
    licence: str | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    training: dict[str, str] = field(default_factory=dict)

    def updated(self, other: About) -> About:
        """The same with what another says, where it says something."""
        return replace(self, **{key: value for key, value in asdict(other).items() if value})


class PretrainedModel(Generic[Network]):
    """A trained network and its description; to be derived from, for each task.

    Parameters
    ----------
    network : nn.Module
        The network.
    stored : mapping
        What a checkpoint says of it; see `Task.describe`.
    about : About, optional
        For the model card; by default what `stored` says.

    Attributes
    ----------
    network : nn.Module
        In evaluation mode.
    stored : dict
        The description, without what is in `about`.
    about : About
        For the model card.
    """

    task: ClassVar[str]
    hub_task: ClassVar[str]

    def __init__(
        self, network: Network, stored: Mapping[str, Any], about: About | None = None
    ) -> None:
        self.network = network
        self.stored = {name: value for name, value in stored.items() if name != ABOUT}
        self.about = About(**stored.get(ABOUT, {})) if about is None else about

    @classmethod
    def build(cls, stored: Mapping[str, Any]) -> Network:
        """The network of a description, with any weights."""
        raise NotImplementedError

    def details(self) -> dict[str, str]:
        """What the card tells of the network: a line by its name, ``Network`` among them."""
        raise NotImplementedError

    def block_details(self, network: Mapping[str, Any]) -> dict[str, str]:
        """Of `details`, what networks of all tasks have: blocks and the number of parameters."""
        options = ", ".join(f"{key} {value}" for key, value in network["block_options"].items())
        places = ", ".join(f"`{place}`" for place in network["block_after"])
        blocks = f"`{network['block']}` ({options or 'default options'}) after {places}"
        parameters = sum(p.numel() for p in self.network.parameters())
        return {
            "Blocks": blocks if network["block"] else "none",
            "Parameters": f"{parameters / 1e6:.2f} million",
        }

    @classmethod
    def from_pretrained(
        cls: type[Model],
        name: str | Path,
        *,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> Model:
        """Load a trained network.

        Parameters
        ----------
        name : str or path
            A folder of `save_pretrained` or ``srl publish``, a checkpoint of training, a name of
            `packaged_names`, or ``owner/name`` on the hub.
        revision : str, optional
            Branch, tag or commit on the hub.
        dtype : torch.dtype, default torch.float32
            Of the weights, whatever they are stored in.
        **options
            Of `huggingface_hub.snapshot_download`: ``cache_dir``, ``token``,
            ``local_files_only``, ...

        Returns
        -------
        PretrainedModel
            Its network in evaluation mode, on the CPU, channels last in memory.

        Raises
        ------
        FileNotFoundError
            If there is nothing of that name, here or on the hub.
        ValueError
            If it is not a network of this task, or its weights are not of the network that is
            described.
        """
        network, stored = load_network(
            locate(name, revision=revision, **options), cls.task, cls.build
        )
        return cls(network.to(dtype), stored)

    def save_pretrained(
        self, folder: str | Path, *, half: bool = False, name: str | None = None
    ) -> Path:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md``.

        Parameters
        ----------
        folder : path
            Made if it is not there; the three files are replaced.
        half : bool, default False
            Store weights with two or more axes as float16.
        name : str, optional
            By which the card calls it; by default the folder's.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ValueError
            If weights are not finite, or do not fit into half precision.
        """
        folder = Path(folder)
        stored = {**self.stored, ABOUT: asdict(self.about)}
        card = self.card(name or folder.resolve().name)
        return write_folder(folder, self.task, stored, self.network.state_dict(), card, half=half)

    def push_to_hub(
        self, name: str, *, half: bool = False, private: bool | None = None, **options: Any
    ) -> str:
        """Upload what `save_pretrained` writes; see `push_folder`.

        Parameters
        ----------
        name : str
            ``owner/name``, or a name alone for the owner of the token.
        half : bool, default False
            Store weights with two or more axes as float16.
        private : bool, optional
            Whether a new repository is private.
        **options
            ``revision``, ``token`` and options of `huggingface_hub.HfApi.upload_folder`.

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        OSError
            If the hub cannot be reached or refuses.
        ValueError
            If weights are not finite, or do not fit into half precision.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, half=half)
            return push_folder(folder, name, self.card, private=private, **options)

    def card(self, name: str) -> str:
        """The model card, Markdown with YAML before it."""
        return model_card(name, self.task, self.hub_task, self.details(), asdict(self.about))
