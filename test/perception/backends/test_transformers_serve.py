# SPDX-License-Identifier: Apache-2.0
"""The client against `transformers serve` in a process of its own, with a real LLaVA of tiny size."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import DEADLINE

pytest.importorskip("torch", reason="transformers serve: torch is not installed")
pytest.importorskip("transformers", reason="transformers serve: transformers is not installed")

import torch
from tiny_vlms import Lesson, llava_folder

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends import server_chat as chat
from spatial_vlm_ros.perception.backends.server import ServerGrounder, load
from spatial_vlm_ros.perception.backends.server_http import ServerTimeoutError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS
from spatial_vlm_ros.types import NounPhrase, Rgb

MISSING = [name for name in ("accelerate", "fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"transformers serve: {', '.join(MISSING)} not installed")

START_S = 180.0  # importing torch, loading and warming up, on a machine with other work
MUG = NounPhrase("mug")
BOX_LEFT, BOX_RIGHT = (100, 200, 300, 400), (700, 250, 900, 650)  # thousandths


def scene(box: tuple[int, int, int, int]) -> Rgb:
    """A grey square of 64 pixels, so that nothing is cut off, with a red rectangle, its corners in thousandths."""
    rgb = np.full((64, 64, 3), 90, np.uint8)
    x0, y0, x1, y1 = (np.array(box) * 64 // 1000).tolist()
    rgb[y0:y1, x0:x1] = (230, 20, 20)
    return rgb


LEFT, RIGHT = scene(BOX_LEFT), scene(BOX_RIGHT)


def prepare(model: Any) -> None:
    """Larger first weights, which learn sooner at such a width, and settings that the client has to overrule."""
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.mul_(5.0)
    model.generation_config.temperature, model.generation_config.repetition_penalty = 0.9, 20.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    asking = chat.ChatPrompt("tiny", CONVENTIONS["thousand"])
    lessons = []
    for rgb, box in ((LEFT, BOX_LEFT), (RIGHT, BOX_RIGHT)):
        system, user = chat.find_request(["mug"], chat.image(rgb, asking), asking)["messages"]
        reply = json.dumps({"objects": [{"label": "mug", "bbox_2d": list(box)}]})
        lessons.append(Lesson(rgb, user["content"][1]["text"], reply))
    folder = tmp_path_factory.mktemp("served") / "tiny-llava"
    return llava_folder(folder, lessons, prepare=prepare, before=f"USER: {system['content']} USER: ")


def client(served: dict[str, str], **options: str) -> ServerGrounder:
    given = {"image": "png", "read_timeout": "60", "budget": "60", "retries": "0", "convention": "thousand"}
    return load(**{**given, "probe": "no", **served, **options})


def start(folder: Path) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0", "--device", "cpu", "--dtype", "float32"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    lines: list[str] = []
    listening = threading.Event()

    def read() -> None:
        with process.stdout as output:
            for line in output:
                lines.append(line)
                if "running on http" in line:
                    listening.set()
        listening.set()

    threading.Thread(target=read, daemon=True).start()
    listening.wait(START_S)
    said = "".join(lines)
    if not (port := re.search(r"running on http://127\.0\.0\.1:(\d+)", said)):
        stop(process)
        pytest.fail(f"transformers serve did not start within {START_S:g} s: {said[-3000:]}")
    return process, int(port[1])


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(checkpoint: Path) -> Iterator[dict[str, str]]:
    process, port = start(checkpoint)
    yield {"url": f"http://127.0.0.1:{port}/v1", "model": str(checkpoint)}
    stop(process)


def pixels(box: tuple[int, ...]) -> tuple[float, ...]:
    return tuple((np.array(box) * 64 / 1000).tolist())


def test_words_and_pixels_arrive_and_boxes_come_back_of_a_larger_image_too(served: dict[str, str]) -> None:
    grounder = client(served)
    for rgb, box in ((LEFT, BOX_LEFT), (RIGHT, BOX_RIGHT), (LEFT, BOX_LEFT)):
        (detection,) = grounder.ground(rgb, [MUG]).detections
        assert detection.label == "mug"
        assert detection.box_xyxy == pytest.approx(pixels(box))
        assert detection.score == 1.0  # this server tells no probabilities, though it is asked for them
    large = RIGHT.repeat(10, axis=0).repeat(10, axis=1)
    (detection,) = client(served, longest_side="64").ground(large, [MUG]).detections
    assert detection.box_xyxy == pytest.approx([10 * value for value in pixels(BOX_RIGHT)])


def test_what_the_server_says_or_not_in_time_is_an_error_and_the_next_works(served: dict[str, str]) -> None:
    for options, error, words in (
        ({"max_tokens": "8"}, ModelError, "cut off at max_tokens"),
        ({"model": "someone/else"}, ModelError, "answered 400 Bad Request: Server is pinned to"),
        ({"url": served["url"].replace("/v1", "/v9")}, ModelError, "answered 404 Not Found"),
        ({"budget": "0.01"}, ServerTimeoutError, r"within 0\.01 s"),
    ):
        with pytest.raises(error, match=words):
            client(served, **options).ground(LEFT, [MUG])
    assert len(client(served).ground(RIGHT, [MUG]).detections) == 1
