# SPDX-License-Identifier: Apache-2.0
"""Make the small relation judge: render images with the simulator, train a network on them, export it to ONNX.

    python -m scripts.train_relation_judge --data build/judge --out models/relation_judge

A third of the images shows usual tables, the others worlds in which height in the image is a poor cue for distance.
They are rendered into DATA, shard by shard; existing shards are kept. See docs/second_opinion.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from spatial_vlm_lab.sim.relation_pairs import RelationView, relation_views

SIZE = (320, 240)
VIEWS = 6
WORLDS_OF_A_SHARD = 20
KINDS = {"pairs": (False, 4_000_000), "raised": (True, 4_200_000)}
"""Name of shards → whether their worlds are raised, and the first seed; no other model and no benchmark uses these."""


def main() -> int:
    """Render, train, export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of rendered images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    parser.add_argument("--worlds", type=int, default=800, help="usual tables, 6 views each")
    parser.add_argument("--raised", type=int, default=1600, help="worlds of objects at several heights, likewise")
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--processes", type=int, default=4, help="that render")
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    worlds = {"pairs": options.worlds, "raised": options.raised}
    shards = [(kind, shard) for kind, count in worlds.items() for shard in range(-(-count // WORLDS_OF_A_SHARD))]
    begun = time.monotonic()
    with ProcessPoolExecutor(options.processes) as pool:
        for number, _ in enumerate(pool.map(partial(_render, options.data), shards), 1):
            _say(f"shard {number} of {len(shards)}, {time.monotonic() - begun:.0f} s")
    views = [view for shard in shards for view in _read(_path(options.data, shard))]
    _say(f"{len(views)} images, {sum(len(view.boxes) for view in views)} pairs")

    from spatial_vlm_lab.training import loop, relation_judge

    begun = time.monotonic()
    network = relation_judge.trained(
        views, loop.TrainingSettings(steps=options.steps, batch=128),
        lambda step, loss: _say(f"step {step}: loss {loss:.4f}, {time.monotonic() - begun:.0f} s"),
    )  # fmt: skip
    relation_judge.export(network, options.out / "model.onnx")
    return 0


def _path(data: Path, shard: tuple[str, int]) -> Path:
    kind, number = shard
    return data / f"{kind}_{number:05d}.npz"


def _render(data: Path, shard: tuple[str, int]) -> None:
    """Render one shard; an existing file is complete."""
    path = _path(data, shard)
    if path.exists():
        return
    kind, number = shard
    raised, first = KINDS[kind]
    seeds = range(first + number * WORLDS_OF_A_SHARD, first + (number + 1) * WORLDS_OF_A_SHARD)
    views = [view for seed in seeds for view in relation_views(seed, VIEWS, SIZE, raised)]
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        rgb=np.stack([view.rgb for view in views]),
        ends=np.cumsum([len(view.boxes) for view in views]),
        boxes=np.concatenate([view.boxes for view in views]),
        holds=np.concatenate([view.holds for view in views]),
    )
    part.replace(path)


def _read(path: Path) -> list[RelationView]:
    with np.load(path, allow_pickle=False) as shard:
        rgb, boxes, holds = shard["rgb"], shard["boxes"], shard["holds"]
        begins = [0, *shard["ends"].tolist()]
    return [
        RelationView(image, boxes[begin:end], holds[begin:end])
        for image, begin, end in zip(rgb, begins, begins[1:], strict=False)
    ]


def _say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
