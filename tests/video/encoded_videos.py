"""Small videos for the tests, written with PyAV."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

RATE = 30


def moving_frames(count, size=(48, 64), seed=0):
    """Frames (F, H, W, 3) of coarse noise that moves and grows brighter: no two are alike."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(0, 160, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    image = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
    return np.stack(
        [
            np.roll(image, (i, 2 * i), (0, 1)) + np.uint8(80 * i / max(count, 2))
            for i in range(count)
        ]
    )


def write_video(
    path,
    frames,
    codec="mpeg4",
    *,
    gop=12,
    options=None,
    container_options=None,
    times=None,
    rotation=None,
    flips=(False, False),
    audio=False,
):
    """Encode frames (F, H, W, 3) uint8 RGB; `times` in units of 1 / RATE; then return the path."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.bit_rate = 2_000_000
        stream.codec_context.thread_count = 1
        if rotation is not None:
            stream.set_display_rotation(rotation, *flips)
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, RATE)
            container.mux(stream.encode(frame))
            if sound is not None:
                container.mux(sound.encode(_tone(number)))
        for each in [stream, sound]:
            if each is not None:
                container.mux(each.encode(None))
    return path


def write_sound(path):
    """Write a file with sound alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        for number in range(20):
            container.mux(stream.encode(_tone(number)))
        container.mux(stream.encode(None))
    return path


def _tone(number):
    samples = np.full((1, 1024), 0.1 * (number % 3), dtype=np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = 8000
    frame.pts = number * 1024
    return frame


def decode_plainly(path):
    """All frames (F, H, W, 3) as PyAV gives them in a plain loop, without rotation."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = container.decode(video=0)
        return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in frames])


def write_broken(folder, good):
    """Write one file of each kind that is no readable video; return their paths."""
    content = good.read_bytes()
    files = {
        "truncated.mp4": content[: len(content) // 2],
        "empty.mp4": b"",
        "text.mp4": b"this is no video\n" * 20,
        "page.mp4": b"<!DOCTYPE html><html><body>404</body></html>",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files] + [write_sound(folder / "sound.mp4")]
