"""The whole page, and how it is served: on this machine, without asking any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from .networks import Networks
from .pictures import MOST_FILE_BYTES, examples
from .tabs import NO_POSE, NO_VIDEO, ChoiceTab, PoseTab, VideoTab

_TITLE = "Spectral residual learning"
_DELETE_EVERY, _DELETE_AFTER = 60, 600
_MOST_SESSIONS = 20


def build_page(networks: Networks, folder: Path) -> gr.Blocks:
    """Lay out the page.

    Parameters
    ----------
    networks : Networks
        What the first two tabs show.
    folder : Path
        For generated clips.

    Returns
    -------
    gr.Blocks
        To be served by `serve`.
    """
    with gr.Blocks(
        title=_TITLE,
        fill_width=True,
        analytics_enabled=False,
        delete_cache=(_DELETE_EVERY, _DELETE_AFTER),
    ) as page:
        gr.Markdown(f"# {_TITLE}")
        with gr.Tab("Pose"):
            if networks.poses:
                PoseTab(networks.poses, examples()).start(page)
            else:
                gr.Markdown(NO_POSE)
        with gr.Tab("Video"):
            if networks.video is not None:
                VideoTab(networks.video, folder)
            else:
                gr.Markdown(NO_VIDEO)
        with gr.Tab("Which block for my network?"):
            ChoiceTab()
    return page


def serve(page: gr.Blocks, host: str, port: int) -> str:
    """Serve a page until `gr.Blocks.close`; its address.

    Fonts are those of the browser; there is no link to share, no statistics, and no API page.

    Raises
    ------
    OSError
        If the port is taken, or the host is not one of this machine.
    """
    options: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    fonts = ("system-ui", "sans-serif")
    _, address, _ = page.queue(max_size=_MOST_SESSIONS).launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=MOST_FILE_BYTES,
        state_session_capacity=_MOST_SESSIONS,
        theme=gr.themes.Default(font=fonts, font_mono=("ui-monospace", "monospace")),
        app_kwargs=options,
    )
    return address
