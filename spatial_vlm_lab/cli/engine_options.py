# SPDX-License-Identifier: Apache-2.0
"""Options of `evaluate` for several processes or machines, and how to run with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import say
from spatial_vlm_ros.errors import EvaluationError

if TYPE_CHECKING:
    from spatial_vlm_lab.engine.run import MergedRun
    from spatial_vlm_lab.engine.workers import Engine
    from spatial_vlm_lab.scoring.model_run import ModelRun
    from spatial_vlm_lab.scoring.model_spec import ModelSpec
    from spatial_vlm_lab.scoring.rows import Row
    from spatial_vlm_lab.scoring.sources import Source
    from spatial_vlm_ros.parameters import Settings

ENGINES = ("local", "ray")
SHARDS = "shards"
"""Name of the folder of the parts inside the folder of --out."""

_OPTIONS = (
    click.option("--engine", type=click.Choice(ENGINES), help="Evaluate in shards, on this machine or on Ray."),
    click.option(
        "--workers", type=click.IntRange(1), help="Number of processes (with Ray: actors); each loads the models once."
    ),
    click.option("--address", help='Ray cluster: "auto" or "host:6379". Default: start one here.'),
    click.option(
        "--num-gpus", type=click.FloatRange(0), help="GPUs for each Ray worker; with 0.25, four workers share one."
    ),
    click.option("--resume", is_flag=True, help="Continue an evaluation in shards and keep its results."),
    click.option(
        "--shards", metavar="URI", help="Folder of the shards, local or in an object store. Default: shards/ in --out."
    ),
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that adds the options --engine, --workers, --address, --num-gpus, --resume and --shards."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class ShardRequest:
    """Request for an evaluation in shards, from the command line."""

    engine: Engine
    folder: str
    resume: bool

    def run(
        self, sources: Sequence[Source], models: Sequence[ModelSpec], config: Settings, frame_of_reference: str | None,
        note_row: Callable[[Row], None],
    ) -> tuple[list[ModelRun], MergedRun]:  # fmt: skip
        """Run all models; returns their runs, and what was and was not evaluated."""
        from spatial_vlm_lab.engine.evaluate_cases import evaluate_cases
        from spatial_vlm_lab.engine.run import run_rows
        from spatial_vlm_lab.scoring.model_run import ModelRun
        from spatial_vlm_ros.output import terminal
        from spatial_vlm_ros.types import FrameOfReference

        chosen = FrameOfReference(frame_of_reference) if frame_of_reference else None
        seen = 0
        with terminal.counting("evaluating shards") as tell:

            def watch(_: object, total: int) -> None:
                nonlocal seen
                seen += 1
                tell(seen, total)

            try:
                done = evaluate_cases(
                    sources, models, config, self.folder, self.engine, frame_of_reference=chosen, resume=self.resume,
                    watch=watch,
                )  # fmt: skip
            except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
                say(
                    f"stopped; the shards in {self.folder} are kept. Run the same command with --resume to continue",
                    err=True,
                )
                raise
        runs: dict[str, ModelRun] = {}
        for row in run_rows(self.folder):
            name = str(row["model"])
            runs.setdefault(name, ModelRun(name)).add_row(row)
            note_row(dict(row))
        if not runs:
            raise EvaluationError(done.summary(), "Fix the cause, then run the same command with --resume.")
        return list(runs.values()), done


def shard_request(given: dict[str, Any], out: Path | None, answers: Path | None) -> ShardRequest | None:
    """Take the engine options out of `given`; None if the cases are evaluated one after another in this process."""
    engine, workers, address, num_gpus, resume, shards = (
        given.pop(name) for name in ("engine", "workers", "address", "num_gpus", "resume", "shards")
    )
    if engine != "ray" and (address is not None or num_gpus is not None):
        raise click.UsageError("--address and --num-gpus need --engine ray")
    if engine is None and workers is None and shards is None and not resume:
        return None
    if answers is not None:
        raise click.UsageError("--answers does not work with --engine, --workers, --resume or --shards")
    if shards is None and (out is None or out.suffix):
        raise click.UsageError("an evaluation in shards needs a folder: give --out FOLDER or --shards")
    return ShardRequest(
        _engine(engine, workers or 1, address, num_gpus), shards or str(Path(out or "", SHARDS)), resume
    )


def _engine(engine: str | None, workers: int, address: str | None, num_gpus: float | None) -> Engine:
    from spatial_vlm_lab.engine.local import LocalEngine
    from spatial_vlm_lab.engine.ray_engine import RayEngine

    if engine == "ray":
        return RayEngine(workers, address, num_gpus=num_gpus or 0.0)
    return LocalEngine(workers)
