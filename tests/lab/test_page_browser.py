"""``srl demo page``: what it says before it starts, and the page in a browser."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from page_networks import pose_model, video_model

import spectral_residual
from spectral_residual.cli import main
from spectral_residual.lab.page.pictures import examples

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="gradio is not installed"
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="chromium or playwright is not installed",
)
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
SECONDS = 300


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def folder(tmp_path):
    """Networks, and files to upload."""
    pose_model().save_pretrained(tmp_path / "base")
    pose_model("srl").save_pretrained(tmp_path / "srl")
    video_model().save_pretrained(tmp_path / "video")
    cv2.imwrite(str(tmp_path / "person.png"), examples()[0].picture[:, :, ::-1])
    (tmp_path / "wrong.png").write_text("no picture")
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.fixture
def address(folder):
    """Address of a page in a process of its own, which is ended as by ``kill``."""
    program = "import sys; from spectral_residual.cli import main; sys.exit(main())"
    options = ["--pose", "srl", "--pose-base", "base", "--video", "video", "--port"]
    command = [sys.executable, "-c", program, "demo", "page", *options, str(free_port())]
    package = str(Path(spectral_residual.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package, "TMPDIR": str(folder / "tmp")}
    running = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    line = running.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/", line)
    if not found:
        running.kill()
        pytest.fail(f"expected an address, got {line!r}")
    yield found[0]
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0
    assert not list((folder / "tmp").glob("srl_page_*")), "files of the page are left behind"


@pytest.fixture
def browser_page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(1000 * SECONDS)
        yield page
        browser.close()


def upload(page, button, file):
    with page.expect_file_chooser() as chooser:
        page.locator(button).click()
    chooser.value.set_files(str(file))


def click_at(page, name, x, y):
    """Click on an image at shares of its width and height; its margins take no clicks."""
    image = page.locator(f"{name} img")
    box = image.bounding_box()
    image.click(position={"x": x * box["width"], "y": y * box["height"]})


def source(page, name):
    return page.locator(f"{name} img").get_attribute("src")


def changed(page, name, before):
    page.wait_for_function(
        "([name, old]) => (document.querySelector(name + ' img')?.getAttribute('src') ?? old) "
        "!== old",
        arg=[name, before],
    )


@needs_gradio
@needs_browser
def test_page_in_a_browser(address, browser_page, folder):
    page, hosts = browser_page, set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(address)
    page.wait_for_selector("#skeleton1 img")
    first = source(page, "#skeleton0")

    upload(page, "#upload", folder / "person.png")
    changed(page, "#skeleton0", first)
    whole = source(page, "#skeleton0")
    drawn = source(page, "#picture")
    click_at(page, "#picture", 0.6, 0.1)
    changed(page, "#picture", drawn)
    click_at(page, "#picture", 0.9, 0.85)
    changed(page, "#skeleton0", whole)

    click_at(page, "#skeleton1", 0.78, 0.45)
    page.wait_for_selector("#field0 img")
    assert re.search(r"lies within \d+ pixels", page.locator("#radius1").inner_text())
    assert "left ankle" in page.locator("#joints").inner_text()

    upload(page, "#upload", folder / "wrong.png")
    message = page.locator(".toast-body").first
    message.wait_for()
    assert "wrong.png: not an image that OpenCV can read" in message.inner_text()
    assert "Traceback" not in page.content()

    page.get_by_role("tab", name="Video").click()
    page.locator("#make").click()
    page.wait_for_selector("#frames img")
    assert "sit_down" in page.locator("#classes").inner_text()
    picture = page.screenshot(path=folder / "page.png")
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.std() > 10, "an empty page"
    assert {host for host in hosts if host} == {urlsplit(address).netloc}


@needs_gradio
@needs_browser
def test_blocks_in_a_browser(address, browser_page):
    """The page is ended while it measures."""
    page = browser_page
    page.goto(address)
    page.get_by_role("tab", name="Which block").click()
    for name, text in (("#network", "squeezenet"), ("#after", "features.9"), ("#time", "60")):
        page.locator(f"{name} input, {name} textarea").first.fill(text)
    page.locator("#measure").click()
    message = page.locator(".toast-body").first
    message.wait_for()
    assert "unknown network 'squeezenet'; did you mean" in message.inner_text()
    page.locator("#network input, #network textarea").first.fill("squeezenet1_1")
    page.locator("#measure").click()
    page.get_by_text(re.compile(r"interleaved rounds: ([3-9]|\d\d)")).wait_for()
    page.locator("#blocks").get_by_text("srl-slant").first.wait_for()


@needs_gradio
def test_without_networks_the_page_says_how_to_get_them():
    from spectral_residual.lab.page.layout import build_page
    from spectral_residual.lab.page.networks import Networks

    page = build_page(Networks(), Path())
    texts = str(page.get_config_file())
    assert "`srl demo pose` trains two" in texts
    assert "`srl demo video` trains some" in texts


@needs_gradio
def test_one_event_computes_at_a_time(tmp_path):
    from spectral_residual.lab.page.layout import build_page
    from spectral_residual.lab.page.networks import Networks, Shown

    page = build_page(Networks(poses=[Shown("no block", "", pose_model())]), tmp_path)
    computing = [event for event in page.fns.values() if event.fn is not None]
    assert len(computing) >= 6
    assert {event.concurrency_id for event in computing} == {"cpu"}


@needs_gradio
def test_a_session_without_a_picture_is_told():
    import gradio

    from spectral_residual.lab.page.networks import Shown
    from spectral_residual.lab.page.tabs import PoseTab

    with gradio.Blocks():
        tab = PoseTab([Shown("no block", "", pose_model())], examples())
    with pytest.raises(ValueError, match="there is no picture yet, or no longer"):
        tab._whole(None)
    assert tab._whole(tab._first()[0])[0].box == (0, 0, 319, 319)


@needs_gradio
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "0"], "--port: got 0, expected a number from 1 to 65535"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 --port 7860: "),
        (["--pose", "nowhere.ckpt", "--port", "{free}"], "no checkpoint nowhere.ckpt"),
    ],
)
def test_wrong_options(capsys, options, message):
    given = [option.format(free=free_port()) for option in options]
    assert main(["demo", "page", *given]) == 2
    assert message in capsys.readouterr().err


@needs_gradio
def test_a_port_that_is_taken(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["demo", "page", "--port", str(port)]) == 2
    assert f"--port {port}: Address already in use; choose another" in capsys.readouterr().err
