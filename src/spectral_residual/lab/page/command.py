"""``srl demo page``."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .networks import Networks


def page(
    *,
    pose: str | None = None,
    pose_base: str | None = None,
    video: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
) -> None:
    """Show trained networks, and what every block costs in yours, as a page in the browser.

    Pose: skeletons, heatmaps and effective receptive fields of pictures, with and without a block.
    Video: the classes of clips. Which block for my network: parameters, operations and measured
    time of every block in a network of torchvision or timm.

    Everything is computed on this machine, and nothing is sent elsewhere. The page is open to
    this machine alone unless --host says otherwise; uploaded files are deleted after some minutes
    and at the end. Ctrl+C ends it.

    Networks are checkpoints of 'srl pose fit', 'srl video fit' and the demos, folders or names of
    trained networks; by default those that come with the package.

    Parameters
    ----------
    pose : str, optional
        Pose network with blocks.
    pose_base : str, optional
        Pose network without blocks, to compare with.
    video : str, optional
        Video network.
    host : str
        Address to listen at; 0.0.0.0 opens the page, without a password, to all who reach this
        machine.
    port : int
        Port to listen at.

    Raises
    ------
    ModuleNotFoundError
        If gradio is not installed.
    FileNotFoundError, ValueError
        If there is no such network, or the port is no port.
    OSError
        If nothing can listen at the address.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ModuleNotFoundError(
            'srl demo page needs gradio: pip install "spectral_residual[page]"', name="gradio"
        )
    _check_address(host, port)
    from .networks import Sources, load_networks

    networks = load_networks(Sources(pose, pose_base, video))
    with tempfile.TemporaryDirectory(prefix="srl_page_") as folder:
        _keep_to_itself(host, Path(folder))
        _serve(networks, Path(folder), host, port)
    # PyTorch aborts a process that ends as usual while a thread computes.
    sys.stdout.flush()
    os._exit(0)


def _serve(networks: Networks, folder: Path, host: str, port: int) -> None:
    """Serve until Ctrl+C or SIGTERM."""
    from .layout import build_page, serve

    page = build_page(networks, folder)
    address = serve(page, host, port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder goes
    print(f"Page: {address} (Ctrl+C ends it)", flush=True)
    page.block_thread()


def _check_address(host: str, port: int) -> None:
    """Raise ValueError or OSError unless something can listen there."""
    if not 1 <= port <= 65535:
        raise ValueError(f"--port: got {port}, expected a number from 1 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"--host {host} --port {port}: {reason}; choose another") from error


def _keep_to_itself(host: str, folder: Path) -> None:
    """Settings that gradio reads from the environment, before it is imported.

    No statistics, no proxy between the server and itself, all files in one folder.
    """
    proxied = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    direct = ",".join(filter(None, (proxied, "127.0.0.1", "localhost", host)))
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_DISABLE_TELEMETRY="1",
        GRADIO_TEMP_DIR=str(folder),
        NO_PROXY=direct,
        no_proxy=direct,
    )
