# SPDX-License-Identifier: Apache-2.0
"""Draw the labelling page in docs/label.md: the demo's world, with a corrected place.

Needs the extras `sim`, `web` and `browser`, chromium and its driver. Run: python -m scripts.draw_labels
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from scripts.images import demo_frame, save_jpeg
from spatial_vlm_lab.labelling.label_file import LabelFile
from spatial_vlm_lab.labelling.label_sources import FolderSource
from spatial_vlm_lab.labelling.label_web import serve_labels
from spatial_vlm_lab.labelling.session import LabelSession
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.recording.frame_folder import write_frame

SENTENCES = ("grab me the chick behind the cup", "put the mug to the right of the cup", "how many chicks are there?")
WIDTH, HEIGHT = 1280, 830  # CSS pixels
QUALITY = 72  # of JPEG
PATIENCE = 60.0  # s


def main() -> int:
    """Draw it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "recordings"
        write_frame(folder / "kitchen", *demo_frame("behind"))
        with LabelFile(folder / "cases.jsonl") as file:
            session = LabelSession(FolderSource(folder, ask_grounder=False), file, Resolver(), SENTENCES)
            session.decide(0, session.case(0)["proposal"], ["2 behind"])
            with serve_labels(session, folder.name) as page:
                png = screenshot(page.url)
    save_jpeg(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], "label", QUALITY)
    return 0


def screenshot(url: str) -> bytes:
    """Take a PNG screenshot of the page of the second sentence, its place enlarged and moved."""
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for name in ("headless=new", "disable-gpu", "no-first-run", *(["no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(f"--{name}")
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(url)
        ready = "const i = document.getElementById('image'); return i.complete && i.naturalWidth > 0"
        until(lambda: bool(driver.execute_script(ready)))
        webdriver.ActionChains(driver).send_keys("p", "+", "+", "\ue015").perform()
        until(lambda: "Place:" in driver.find_element("id", "says").text)
        return driver.get_screenshot_as_png()
    finally:
        driver.quit()


def until(seen: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    ends = time.monotonic() + PATIENCE
    while not seen():
        if time.monotonic() > ends:
            raise TimeoutError(f"the page did not show it within {PATIENCE:g} s")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
