# SPDX-License-Identifier: Apache-2.0
"""Claim: evaluating a bag costs little beyond decoding it, lifting each image once and answering each sentence.

A bag of compressed 720p colour and compressedDepth with up to ten detections is evaluated with one and with eight
sentences an image. It alternates with rosbags' own decoding of the same bag (only messages and images), and with
`Resolver.observe` and `Resolver.answer` on the same images. Further parts measure memory against length, many small
bags, and two workers.

    python -m benchmarks.evaluation_throughput --long 3000 --bags 2000    half an hour on a quiet machine
    python -m benchmarks.evaluation_throughput --workers 0                without the part with two workers
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.bags import COLOUR, DEPTH, SAID, SMALL, worlds, write_bag, write_truth
from benchmarks.harness import Claim, finish, option, table
from spatial_vlm_lab.engine.case_shards import plan_cases, run_configuration
from spatial_vlm_lab.engine.evaluate_cases import CaseSetup
from spatial_vlm_lab.engine.local import LocalEngine
from spatial_vlm_lab.engine.run import evaluate_shards
from spatial_vlm_lab.engine.workers import Engine
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_lab.scoring.sources import Source
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.bags.reader import open_bag
from spatial_vlm_ros.resolver import Resolver

FRAMES, LONG, BAGS, ROUNDS, OBJECTS, WORLDS = 60, 300, 100, 5, 9, 3
SENTENCES = (1, 8)
SETTINGS, MODELS = Settings(), (ModelSpec(),)
MEMORY_SLACK_MB = 60.0  # images made ahead, and memory retained by allocators

_MEMORY = """
import resource, sys
from benchmarks.evaluation_throughput import evaluated
evaluated(sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def source_of(bag: str | Path, truth: str | Path) -> Source:
    """A bag with its cases."""
    return Source(str(bag), "bag", str(truth))


def evaluated(bag: str | Path, truth: str | Path) -> int:
    """Evaluate a bag in this process; returns the number of resolved images, which must be all of them."""
    shards = plan_cases([source_of(bag, truth)], MODELS, SETTINGS)
    task = CaseSetup(SETTINGS, MODELS)()
    rows = [row for shard in shards for row in task(shard).rows]
    refused = {
        row["message"] for row in rows if row["status"] in ("TF_UNAVAILABLE", "INVALID_INPUT", "NOT_SYNCHRONISED")
    }
    assert not refused, refused
    return len(rows)


def decoded(bag: Path) -> int:
    """Time of rosbags and OpenCV for the same bag: deserialise messages, decompress images, check nothing."""
    count = 0
    with open_bag(bag) as opened:
        for message in opened.messages():
            value = message.decode()
            if message.topic == COLOUR:
                count += cv2.imdecode(value.data, cv2.IMREAD_COLOR).size
            elif message.topic == DEPTH:
                count += cv2.imdecode(value.data[12:], cv2.IMREAD_UNCHANGED).size
    return count


def images_of(bag: Path, truth: Path) -> Iterator[Any]:
    """The images of a bag as an evaluation decodes them."""
    from spatial_vlm_lab.scoring.bag_cases import images_of_bag

    source = source_of(bag, truth)
    with open_bag(bag) as opened:
        found = images_of_bag(opened, source.cases(), SETTINGS, {}, needs_detections=True, note=lambda _: None)
        yield from (image for _, image in found)


def throughput(folder: Path, frames: int, rounds: int) -> dict[str, Any]:
    """Seconds for a bag with one and with eight sentences per image, and for the parts of that work."""
    seen = worlds(WORLDS, OBJECTS)
    bag = write_bag(folder / "hd", seen, frames)
    truths = {n: write_truth(folder / f"hd_{n}.jsonl", frames, n) for n in SENTENCES}
    some = []
    for image in images_of(bag, truths[1]):
        some.append(image)
        if len(some) == WORLDS:
            break
    resolver = Resolver()
    scenes = [resolver.observe(image.frame, image.known) for image in some]

    def observe() -> None:
        for n in range(frames):
            resolver.observe(some[n % len(some)].frame, some[n % len(some)].known)

    def answer(sentences: int) -> None:
        for n in range(frames):
            for words in SAID[:sentences]:
                resolver.answer(scenes[n % len(scenes)], words)

    rivals: dict[str, Callable[[], object]] = {"decode": partial(decoded, bag), "observe": observe}
    for n in SENTENCES:
        rivals[f"answer {n}"] = partial(answer, n)
        rivals[f"evaluate {n}"] = partial(evaluated, bag, truths[n])
    wall, processor = _both_clocks(rivals, rounds)
    size = next(bag.glob("*.mcap")).stat().st_size
    result: dict[str, Any] = {
        "frames": frames,
        "bytes_per_frame": size / frames,
        "detections": OBJECTS,
        "rounds": rounds,
    }
    for name in rivals:
        result[name] = {
            "wall_ms_per_frame": 1e3 * wall[name] / frames,
            "cpu_ms_per_frame": 1e3 * processor[name] / frames,
        }
    for n in SENTENCES:
        for clock, times in (("wall", wall), ("cpu", processor)):
            needed = times["observe"] + times[f"answer {n}"]
            result[f"beyond_decode_{n}_{clock}"] = (times[f"evaluate {n}"] - times["decode"]) / needed
    return result


def _both_clocks(rivals: dict[str, Callable[[], object]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Medians by wall clock and processor time, seconds; rivals run in turn."""
    wall: dict[str, list[float]] = {name: [] for name in rivals}
    processor: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(rounds + 1):
        for name, run in rivals.items():
            began, used = time.perf_counter(), time.process_time()
            run()
            if turn or rounds == 1:
                wall[name].append(time.perf_counter() - began)
                processor[name].append(time.process_time() - used)
    return tuple({name: statistics.median(t) for name, t in times.items()} for times in (wall, processor))  # type: ignore[return-value]


def memory(folder: Path, lengths: Sequence[int]) -> dict[str, float]:
    """Peak resident memory of a process that evaluates a bag of each length, megabytes."""
    seen, result = worlds(WORLDS, OBJECTS), {}
    for frames in lengths:
        bag, truth = write_bag(folder / f"m{frames}", seen, frames), write_truth(folder / "m.jsonl", frames, 1)
        done = subprocess.run([sys.executable, "-c", _MEMORY, str(bag), str(truth)], check=True, capture_output=True,
                              text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
        result[str(frames)] = float(done.stdout.split()[-1])
        for file in bag.iterdir():
            file.unlink()
    return result


def small_bags(folder: Path, count: int) -> dict[str, float]:
    """Overhead per bag: many bags of one small image each, against one bag of as many images."""
    seen = worlds(1, 3, SMALL)
    bags = [str(write_bag(folder / f"s{n:05}", seen, 1)) for n in range(count)]
    one = write_bag(folder / "all", seen, count)
    many = write_truth(folder / "many.jsonl", 1, 1, bags)
    alone = write_truth(folder / "alone.jsonl", count, 1)
    sources = [Source(bag, "bag", str(many), tuple(bags)) for bag in bags]
    began = time.perf_counter()
    shards = plan_cases(sources, MODELS, SETTINGS)
    planned = time.perf_counter() - began
    seconds = []

    def note(_: object) -> None:
        seconds.append(time.perf_counter())

    run = partial(evaluate_shards, CaseSetup(SETTINGS, MODELS), configuration=run_configuration(SETTINGS, None))
    began = time.perf_counter()
    done = run(shards, folder / "many", LocalEngine(), watch=note)
    total = time.perf_counter() - began
    assert done.is_whole
    again = time.perf_counter()
    evaluated(one, alone)
    images = time.perf_counter() - again
    return {
        "bags": count,
        "planning_ms_per_bag": 1e3 * planned / count,
        "overhead_ms_per_bag": 1e3 * (total + planned - images) / count,
        "image_ms": 1e3 * images / count,
        "before_first_and_after_last_s": total - (seconds[-1] - seconds[0]),
    }


def efficiency(folder: Path, frames: int) -> dict[str, float]:
    """Shards per second of two workers against twice those of one, after start-up, locally and on Ray."""
    from spatial_vlm_lab.engine.ray_engine import RayEngine

    seen = worlds(WORLDS, OBJECTS)
    count = 24
    bags = [str(write_bag(folder / f"e{n}", seen, frames)) for n in range(count)]
    truth = write_truth(folder / "e.jsonl", frames, 1, bags)
    shards = plan_cases([Source(bag, "bag", str(truth), tuple(bags)) for bag in bags], MODELS, SETTINGS)

    def rate(engine: Engine, workers: int, name: str) -> float:
        at: list[float] = []
        setup, configuration = CaseSetup(SETTINGS, MODELS), run_configuration(SETTINGS, None)
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


def hundred_terabytes(speed: dict[str, Any], overhead_ms: float, bag_bytes: float = 1e9) -> dict[str, float]:
    """Extrapolate to bags of 100 TB from the measurements: images, bags and core hours.

    Core hours = (images x evaluate n + bags x overhead) / 3600, in processor seconds. If one image in 30 has a case,
    the others are read but not decoded; the last figure leaves that reading out, because it depends on the disk or the
    store.
    """
    images, bags = 1e14 / speed["bytes_per_frame"], 1e14 / bag_bytes
    cpu = {name: speed[name]["cpu_ms_per_frame"] / 1e3 for name in ("evaluate 1", "evaluate 8")}
    return {
        "images": images,
        **{
            f"core hours, {name.split()[1]} sentences an image": (images * value + bags * overhead_ms / 1e3) / 3600
            for name, value in cpu.items()
        },
        "core hours, 1 image in 30 with 1 sentence": images / 30 * cpu["evaluate 1"] / 3600,
    }


def main() -> int:
    """Measure, print and write."""
    frames, long, bags = int(option("frames", FRAMES)), int(option("long", LONG)), int(option("bags", BAGS))
    rounds, workers = int(option("repetitions", ROUNDS)), int(option("workers", 2))
    cv2.setNumThreads(1)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speed = throughput(folder, frames, rounds)
        peaks = memory(folder, sorted({min(30, long), long}))
        many = small_bags(folder, bags)
        pair = efficiency(folder, max(2, frames // 6)) if workers == 2 else {}
    steps = [name for name in speed if isinstance(speed[name], dict)]
    table(
        f"a bag of {frames} images, {speed['bytes_per_frame'] / 1e6:.2f} MB each, {OBJECTS} detections",
        ("step", "wall ms / image", "CPU ms / image"),
        [(name, speed[name]["wall_ms_per_frame"], speed[name]["cpu_ms_per_frame"]) for name in steps],
    )
    table("largest memory", ("images", "MB"), list(peaks.items()))
    volume = hundred_terabytes(speed, many["overhead_ms_per_bag"])
    table("100 TB of such bags of 1 GB each, computed", ("what", "value"), list(volume.items()))
    table("many small bags, two workers", ("what", "value"), [*many.items(), *pair.items()])
    grown = peaks[str(long)] - peaks[str(min(30, long))]
    claims = [
        *(
            Claim(f"evaluation beyond decoding / (observe + {n} x answer)", speed[f"beyond_decode_{n}_wall"], 1.1, "x")
            for n in SENTENCES
        ),
        Claim(f"memory at {long} images beyond that at {min(30, long)}", grown, MEMORY_SLACK_MB, "MB"),
        Claim(f"{bags} bags of one image: overhead of each", many["overhead_ms_per_bag"], 50.0, "ms"),
        *(Claim(f"efficiency of two workers, {name}", pair[f"{name} efficiency"], 0.8, "x", least=True)
          for name in ("local", "ray") if pair),
    ]  # fmt: skip
    setting = {"quality": 90, "worlds": WORLDS, "load_at_start": load, "numpy": np.__version__,
               "baseline": "rosbags' messages, OpenCV's imdecode; observe, answer of the same images"}  # fmt: skip
    measured = {"setting": setting, "throughput": speed, "memory_mb": peaks, "small_bags": many, "workers": pair,
                "hundred_terabytes": volume}  # fmt: skip
    return finish("evaluation_throughput", measured, claims)


if __name__ == "__main__":
    sys.exit(main())
