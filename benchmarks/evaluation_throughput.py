# SPDX-License-Identifier: Apache-2.0
"""Cost of evaluating a bag: milliseconds an image, and what a second worker adds.

A bag of compressed 720p colour and compressedDepth with nine detections is evaluated with one and with eight sentences
an image, in turn. Then bags are evaluated by one and by two workers, locally and on Ray.

    python -m benchmarks.evaluation_throughput
    python -m benchmarks.evaluation_throughput --workers 0    without the part with two workers
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import Claim, alternate, arguments, finish
from benchmarks.scenes import camera, tabletop
from spatial_vlm_lab.engine.engines import Engine, LocalEngine
from spatial_vlm_lab.engine.evaluate_cases import CaseTask, plan_cases, run_configuration
from spatial_vlm_lab.engine.run import evaluate_shards
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_lab.scoring.sources import Source
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.bags.types import COMPRESSED_IMAGE, default_store
from spatial_vlm_ros.recording.bags.writer import BagWriter
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, RGB_INFO, STATIC_TRANSFORMS
from spatial_vlm_ros.types import Detection, RgbdFrame, Transform

FRAMES, ROUNDS, OBJECTS, WORLDS, BAGS = 60, 5, 9, 3, 24
SENTENCES = (1, 8)
SETTINGS, MODELS = Settings(), (ModelSpec(),)
HD = camera(1280, 720, 930.0)
COLOUR, DEPTH = "/camera/color/image_raw/compressed", "/camera/aligned_depth_to_color/image_raw/compressedDepth"
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 33_333_333
QUALITY = 90  # JPEG quality; compressed_image_transport's default is 95, and cameras use less
UNREAD = ("TF_UNAVAILABLE", "INVALID_INPUT", "NOT_SYNCHRONISED")
SAID = (
    "the cup", "the can left of the box", "the box behind the mug", "put the cup next to the box", "the leftmost mug",
    "the can nearest to the cup", "the mug in front of the can", "how far is the cup from the box",
)  # fmt: skip

Seen = tuple[RgbdFrame, tuple[Detection, ...]]


def worlds() -> list[Seen]:
    """Tables seen by a noisy sensor, with the masks of a perfect detector."""
    made = (tabletop(seed, OBJECTS, HD, 1.0) for seed in range(WORLDS))
    return [(frame, tuple(seen.detections)) for _, seen, frame in made]


def write_bag(out: Path, seen: Sequence[Seen], frames: int) -> Path:
    """Write a bag with `frames` images at 30 Hz, taken from the worlds in turn."""
    store = default_store()
    with BagWriter(out) as writer:
        make, size = writer.composer, (seen[0][0].camera.width, seen[0][0].camera.height)
        files = [_files(frame) for frame, _ in seen]
        base = seen[0][0].base_T_camera
        assert base is not None
        poses = [Transform("base_link", base.child, base.matrix)]
        writer.write(
            STATIC_TRANSFORMS, make.tf_message(make.transform_stamped(one, START_NS) for one in poses), START_NS
        )
        for n in range(frames):
            (frame, detections), (colour, depth) = seen[n % len(seen)], files[n % len(seen)]
            stamp = START_NS + (n + 1) * PERIOD_NS
            header = make.header(stamp, base.child)
            writer.write(RGB_INFO, make.camera_info(frame.camera, header), stamp, topic="/camera/color/camera_info")
            for topic, format_, data in (
                (COLOUR, "rgb8; jpeg compressed bgr8", colour),
                (DEPTH, "16UC1; compressedDepth png", depth),
            ):
                message = store.types[COMPRESSED_IMAGE](header=header, format=format_, data=data)
                writer.write("", message, stamp + 1000, COMPRESSED_IMAGE, topic)
            writer.write(DETECTIONS, make.detection_array(detections, header, *size), stamp + 2000)
    return out


def _files(frame: RgbdFrame) -> tuple[Any, Any]:
    """JPEG of a frame, and its depth as in compressed_depth_image_transport: 12 bytes of header, then a PNG."""
    colour = cv2.imencode(".jpg", frame.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    millimetres = np.nan_to_num(frame.depth * 1000).round().astype(np.uint16)
    depth = cv2.imencode(".png", millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return colour.reshape(-1), np.concatenate([np.zeros(12, np.uint8), depth.reshape(-1)])


def write_truth(path: Path, frames: int, sentences: int, bags: Sequence[str] = ()) -> Path:
    """Write cases for every image of one or more bags; any object counts as right, because only speed is measured."""
    with path.open("w") as file:
        for bag in bags or ("",):
            for n in range(frames):
                for words in SAID[:sentences]:
                    case = {
                        "stamp_ns": START_NS + (n + 1) * PERIOD_NS,
                        "instruction": words,
                        "expect": {"status": "OK"},
                        **({"bag": bag} if bag else {}),
                    }
                    file.write(json.dumps(case) + "\n")
    return path


def evaluated(bag: Path, truth: Path) -> None:
    """Evaluate a bag in this process; all of its images have to be resolved."""
    task = CaseTask(SETTINGS, MODELS)
    for shard in plan_cases([Source(str(bag), "bag", str(truth))], MODELS, SETTINGS):
        refused = {row["message"] for row in task(shard).rows if row["status"] in UNREAD}
        assert not refused, refused


def throughput(folder: Path, frames: int, rounds: int) -> dict[str, Any]:
    """Milliseconds an image with one and with eight sentences, by the wall clock and by processor time."""
    bag = write_bag(folder / "hd", worlds(), frames)
    truths = {n: write_truth(folder / f"hd_{n}.jsonl", frames, n) for n in SENTENCES}
    rivals = {f"evaluate {n}": partial(evaluated, bag, truth) for n, truth in truths.items()}
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    times = {clock: alternate(rivals, rounds, 1, read) for clock, read in clocks.items()}
    return {
        name: {f"{clock}_ms_per_frame": timings[name].median_ms / frames for clock, timings in times.items()}
        for name in rivals
    }


def efficiency(folder: Path, frames: int) -> dict[str, float]:
    """Shards per second of two workers against twice those of one, after start-up, locally and on Ray."""
    from spatial_vlm_lab.engine.engines import RayEngine

    seen = worlds()
    bags = [str(write_bag(folder / f"e{n}", seen, frames)) for n in range(BAGS)]
    truth = write_truth(folder / "e.jsonl", frames, 1, bags)
    shards = plan_cases([Source(bag, "bag", str(truth), tuple(bags)) for bag in bags], MODELS, SETTINGS)

    def rate(engine: Engine, workers: int, name: str) -> float:
        at: list[float] = []
        setup, configuration = partial(CaseTask, SETTINGS, MODELS), run_configuration(SETTINGS, None)
        done = evaluate_shards(setup, shards, folder / name, engine, configuration,
                               watch=lambda _: at.append(time.perf_counter()))  # fmt: skip
        assert done.is_whole
        return float((len(at) - 2 * workers) / (at[-workers - 1] - at[workers - 1]))

    engines = {"local": LocalEngine, "ray": RayEngine}
    rates = {
        f"{name} {workers}": rate(kind(workers), workers, f"{name}_{workers}")  # type: ignore[operator]
        for name, kind in engines.items() for workers in (1, 2)
    }  # fmt: skip
    return {
        **{f"{name} shards/s": value for name, value in rates.items()},
        **{f"{name} efficiency": rates[f"{name} 2"] / (2 * rates[f"{name} 1"]) for name in engines},
    }


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, frames=FRAMES, repetitions=ROUNDS, workers=2)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        speed = throughput(Path(name), given.frames, given.repetitions)
        pair = efficiency(Path(name), max(2, given.frames // 6)) if given.workers == 2 else {}
    claims = [
        Claim(f"efficiency of two workers, {name}", pair[f"{name} efficiency"], 0.8, "x", least=True)
        for name in ("local", "ray")
        if pair
    ]
    setting = {"quality": QUALITY, "worlds": WORLDS, "frames": given.frames, "rounds": given.repetitions}
    return finish("evaluation_throughput", {"setting": setting, "throughput": speed, "workers": pair}, claims)


if __name__ == "__main__":
    sys.exit(main())
