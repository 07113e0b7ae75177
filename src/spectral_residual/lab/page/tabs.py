"""The three tabs: which components there are, and what a click does. Nothing is computed here."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import printable
from ...pose.pretrained import PoseModel
from ...video.pretrained import VideoModel
from ..generated.actions import ACTIONS
from .choice import HEADER, Question, compare_blocks
from .clips import BEST, LONGEST_SECONDS, classify, write_example
from .networks import Shown
from .pictures import (
    MOST_FILE_BYTES,
    MOST_PIXELS,
    Box,
    Example,
    Picture,
    Point,
    corner_box,
    draw_box,
    read_picture,
    whole_box,
)
from .poses import ENERGY, LEAST, field_at, find_pose, heatmap_picture, joint_rows, skeleton_picture

_SESSION_SECONDS, _MESSAGE_SECONDS = 3600, 20
_MOST_EXAMPLES = 99
_SAID_HEIGHT, _COLUMN_WIDTH = "10em", 240
_CPU: dict[str, Any] = {
    "concurrency_id": "cpu",
    "concurrency_limit": 1,
    "api_visibility": "private",
}
"""One event computes at a time, so that measured times are of nothing else."""

NO_POSE = """No pose network comes with this version. `srl demo pose` trains two in a few minutes;
`srl demo page --pose-base FILE --pose FILE` shows them, the files being the `.ckpt` below
`demo/pose/SimpleBaseline` and `demo/pose/srl`."""
NO_VIDEO = """No video network is shown. `srl demo video` trains some in a few minutes;
`srl demo page --video FILE` shows one, the file being a `.ckpt` below `demo/video/srl`."""
_POSE = f"""Take a generated picture or upload one (up to {MOST_PIXELS / 1e6:.0f} megapixels and
{MOST_FILE_BYTES // 2**20} MB). **Click on two opposite corners** in the picture to draw a box
around a person. Then **click on a point in a skeleton picture**: below appears the effective
receptive field of both networks at that point, the gradient of all heatmaps there over the
pixels."""
_FIELD = f"""Effective receptive field: colours are the gradient relative to its greatest value,
logarithmically, from {LEAST:g} (black) to 1 (light). A cross marks the point."""
_VIDEO = f"""Take a generated clip or upload one (up to {LONGEST_SECONDS} s, 1920x1088 and
{MOST_FILE_BYTES // 2**20} MB). The generated actions are in pairs that differ in nothing but the
direction of time."""
_CHOICE = """Each block of the registry is put at the same places of a network of torchvision or
timm, and timed on this machine: a forward pass in float32 on the CPU, in interleaved rounds.
Weights are random, so this says what a block costs, not what it is good for."""


@dataclass(frozen=True, eq=False)
class View:
    """What a pose tab looks at: a picture, a box, and the first corner of the next one."""

    picture: Picture
    box: Box
    corner: Point | None = None


def told(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, whose errors that a user can mend are a message and leave all as it is."""

    @functools.wraps(handler)
    def run(*args: Any) -> Any:
        try:
            return handler(*args)
        except (ValueError, OSError) as error:
            _tell(error)
            return gr.skip()

    return run


def _tell(error: Exception) -> None:
    text = _plain(" ".join(str(error).split("\n")))
    gr.Warning(text, duration=_MESSAGE_SECONDS)


def _plain(text: str) -> str:
    """Text that HTML shows as it is: names in files come from anywhere."""
    return html.escape(printable(text))


class PoseTab:
    """Skeletons, heatmaps, joints and effective receptive fields of pose networks, side by side.

    Parameters
    ----------
    networks : sequence of Shown
        At least one, with the same joints.
    examples : sequence of Example
        Generated pictures; the first is shown at the start.
    """

    def __init__(self, networks: Sequence[Shown[PoseModel]], examples: Sequence[Example]) -> None:
        self.networks, self.examples = networks, examples
        gr.Markdown(_POSE)
        view = gr.State(None, time_to_live=_SESSION_SECONDS)
        with gr.Row():
            with gr.Column(min_width=_COLUMN_WIDTH):
                gallery = gr.Gallery(
                    [(example.picture, None) for example in examples],
                    label="Generated pictures", columns=3, height=290, allow_preview=False,
                    interactive=False, buttons=[], elem_id="examples",
                )  # fmt: skip
                upload = gr.UploadButton("Upload a picture", file_types=["image"], elem_id="upload")
                picture = _picture("Picture: click on two opposite corners of a box", "picture")
                whole = gr.Button("Take the whole picture as the box", elem_id="whole")
            columns = [_network_column(number, shown) for number, shown in enumerate(networks)]
        gr.Markdown(_FIELD)
        skeletons, heatmaps, fields, texts = ([*parts] for parts in zip(*columns, strict=True))
        joints = _joint_table(networks)
        self.outputs = [view, picture, *skeletons, *heatmaps, joints, *fields, *texts]
        gallery.select(told(self._take), None, self.outputs, **_CPU)
        upload.upload(told(self._uploaded), upload, self.outputs, **_CPU)
        # The second corner may come before the first is drawn.
        picture.select(told(self._corner), view, self.outputs, trigger_mode="multiple", **_CPU)
        whole.click(told(self._whole), view, self.outputs, **_CPU)
        for skeleton in skeletons:
            skeleton.select(told(self._point), view, [*fields, *texts], **_CPU)

    def start(self, page: gr.Blocks) -> None:
        """Show the first example whenever the page is opened."""
        page.load(told(self._first), None, self.outputs, **_CPU)

    def _first(self) -> list[Any]:
        return self._look(View(self.examples[0].picture, self.examples[0].box))

    def _look(self, view: View) -> list[Any]:
        found = [find_pose(shown.model, view.picture, view.box) for shown in self.networks]
        skeletons = [
            skeleton_picture(shown.model, view.picture, one)
            for shown, one in zip(self.networks, found, strict=True)
        ]
        names = self.networks[0].model.skeleton.names
        return [
            view,
            draw_box(view.picture, view.box),
            *skeletons,
            *map(heatmap_picture, found),
            joint_rows(names, found),
            *(None for _ in found),
            *("" for _ in found),
        ]

    def _take(self, event: gr.SelectData) -> list[Any]:
        example = self.examples[int(event.index)]
        return self._look(View(example.picture, example.box))

    def _uploaded(self, path: str) -> list[Any]:
        picture = read_picture(path)
        return self._look(View(picture, whole_box(picture)))

    def _whole(self, old: View | None) -> list[Any]:
        view = _looked_at(old)
        return self._look(View(view.picture, whole_box(view.picture)))

    def _corner(self, old: View | None, event: gr.SelectData) -> list[Any]:
        view, at = _looked_at(old), _place(event)
        if view.corner is None:
            new = replace(view, corner=at)
            rest = (gr.skip() for _ in self.outputs[2:])
            return [new, draw_box(new.picture, new.box, at), *rest]
        try:
            box = corner_box(view.corner, at)
        except ValueError as error:
            _tell(error)
            box = view.box
        return self._look(View(view.picture, box))

    def _point(self, old: View | None, event: gr.SelectData) -> list[Any]:
        view = _looked_at(old)
        fields = [
            field_at(shown.model, view.picture, view.box, _place(event)) for shown in self.networks
        ]
        said = (
            f"{100 * ENERGY:.0f} % of the gradient's energy lies within {field.radius:.0f} pixels "
            f"of a crop of {'x'.join(map(str, shown.model.input_size))} (H x W)."
            for field, shown in zip(fields, self.networks, strict=True)
        )
        return [*(field.picture for field in fields), *said]


class VideoTab:
    """The most probable classes of a clip, and its sampled frames.

    Parameters
    ----------
    network : Shown
        A video network.
    folder : Path
        Where generated clips are kept as long as the page runs.
    """

    def __init__(self, network: Shown[VideoModel], folder: Path) -> None:
        self.model, self.folder = network.model, folder
        gr.Markdown(_VIDEO)
        gr.HTML(f"<p>{_plain(network.said)}</p>")
        with gr.Row():
            with gr.Column():
                action = gr.Dropdown(list(ACTIONS), value=ACTIONS[0], label="Generated action")
                number = gr.Slider(
                    0, _MOST_EXAMPLES, value=0, step=1, label="Number of the person and place"
                )
                make = gr.Button("Take a generated clip", elem_id="make")
                upload = gr.UploadButton(
                    "Upload a clip", file_types=["video"], elem_id="upload-clip"
                )
                clip = gr.Video(
                    label="Clip",
                    interactive=False,
                    height=240,
                    autoplay=True,
                    loop=True,
                    buttons=[],
                )
            with gr.Column():
                classes = gr.Label(
                    label=f"The {BEST} most probable classes", num_top_classes=BEST,
                    elem_id="classes",
                )  # fmt: skip
                frames = _picture("Sampled frames of the clip in the middle, in order", "frames")
        outputs = [clip, classes, frames]
        make.click(told(self._generated), [action, number], outputs, **_CPU)
        upload.upload(told(self._classified), upload, outputs, **_CPU)

    def _generated(self, action: str, number: float) -> list[Any]:
        file = self.folder / f"{action}_{int(number)}.mp4"
        if not file.exists():
            write_example(action, int(number), file)
        return self._classified(str(file))

    def _classified(self, path: str) -> list[Any]:
        found = classify(self.model, path)
        return [path, found.classes, found.frames]


class ChoiceTab:
    """A table of every block at the same places of a network."""

    def __init__(self) -> None:
        asked = Question()
        gr.Markdown(_CHOICE)
        with gr.Row():
            network = gr.Textbox(
                asked.network, label="Network", elem_id="network",
                info="a name of torchvision, or timm/NAME",
            )  # fmt: skip
            after = gr.Textbox(
                asked.after, label="After the modules", info="names and patterns", elem_id="after"
            )
            height = _number("height", asked.height, "pixels")
            width = _number("width", asked.width, "pixels")
            batch = _number("batch", asked.batch, "images")
            seconds = _number("time", int(asked.seconds), "seconds")
        with gr.Row():
            run = gr.Button("Measure", variant="primary", elem_id="measure")
            stop = gr.Button("Stop")
        status = gr.Markdown(elem_id="measured")
        table = gr.Dataframe(
            headers=list(HEADER), interactive=False, wrap=True, max_height=900, elem_id="blocks",
            datatype=["str", "number", "number", "number", "number", "str", "str"],
        )  # fmt: skip
        inputs = [network, after, height, width, batch, seconds]
        event = run.click(self._compared, inputs, [status, table], **_CPU)
        stop.click(None, None, None, cancels=[event])

    def _compared(
        self, network: str, after: str, height: int, width: int, batch: int, seconds: float
    ) -> Iterator[list[Any]]:
        try:
            question = Question(network, after, height, width, batch, seconds)
            for stage in compare_blocks(question):
                done = "" if stage.share >= 1 else f" ({100 * stage.share:.0f} %)"
                yield [stage.said + done, stage.rows]
        except (ValueError, OSError) as error:
            _tell(error)


def _network_column(number: int, shown: Shown[PoseModel]) -> list[Any]:
    """Components of a pose network: skeleton, heatmaps, field and what is said of that."""
    with gr.Column(min_width=_COLUMN_WIDTH):
        said = f"<h3>{_plain(shown.title)}</h3><p>{_plain(shown.said)}</p>"
        gr.HTML(f'<div style="min-height: {_SAID_HEIGHT}">{said}</div>')
        return [
            _picture("Skeleton: click on a point", f"skeleton{number}"),
            _picture("Heatmaps: the greatest of all joints", f"heatmap{number}"),
            _picture("Effective receptive field at the point", f"field{number}"),
            gr.Markdown(elem_id=f"radius{number}"),
        ]


def _picture(label: str, name: str) -> gr.Image:
    return gr.Image(
        label=label, interactive=False, format="png", height=360, buttons=[], elem_id=name
    )


def _joint_table(networks: Sequence[Shown[PoseModel]]) -> gr.Dataframe:
    columns = [f"{what} ({shown.title})" for shown in networks for what in ("x", "y", "score")]
    return gr.Dataframe(
        headers=["joint", *columns],
        label="Joints: x and y in pixels of the picture, scores 1 at best",
        interactive=False,
        max_height=800,
        elem_id="joints",
    )


def _looked_at(view: View | None) -> View:
    """What a session looks at; ValueError at its start, and when it was idle for an hour."""
    if view is None:
        raise ValueError("there is no picture yet, or no longer: choose one")
    return view


def _number(name: str, value: int, unit: str) -> gr.Number:
    return gr.Number(
        value, label=name.capitalize(), info=unit, precision=0, min_width=100, elem_id=name
    )


def _place(event: gr.SelectData) -> Point:
    return float(event.index[0]), float(event.index[1])
