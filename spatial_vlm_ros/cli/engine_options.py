# SPDX-License-Identifier: Apache-2.0
"""Options of commands that evaluate on several processes or machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spatial_vlm_ros.evaluation.engine.workers import Engine

ENGINES = ("local", "ray")

_OPTIONS = (
    click.option("--engine", type=click.Choice(ENGINES), default=ENGINES[0], show_default=True,
                 help="Processes of this machine, or a Ray cluster."),
    click.option("--workers", type=click.IntRange(1), default=1, show_default=True,
                 help="Processes that each load the models once."),
    click.option("--address", help='Of a Ray cluster: "auto", "host:6379", "ray://host:10001". Default: one is started '
                 "on this machine."),
    click.option("--num-gpus", type=click.FloatRange(0), help="GPUs for each Ray worker; 0.25 has four share one."),
    click.option("--resume", is_flag=True, help="Go on with what the folder of --out holds already."),
)  # fmt: skip


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --engine, --workers, --address, --num-gpus and --resume."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def engine_of(engine: str, workers: int, address: str | None, num_gpus: float | None) -> Engine:
    """The engine that options name.

    Raises:
        click.UsageError: options of Ray without it.
        InputError: a number is out of range.
    """
    from spatial_vlm_ros.evaluation.engine.local import LocalEngine
    from spatial_vlm_ros.evaluation.engine.ray_engine import RayEngine

    if engine == "ray":
        return RayEngine(workers, address, num_gpus=num_gpus or 0.0)
    if address is not None or num_gpus is not None:
        raise click.UsageError("--address and --num-gpus are of --engine ray")
    return LocalEngine(workers)


def needs_folder(engine: str, workers: int, resume: bool) -> bool:
    """Whether the options ask for an evaluation in shards, which needs a folder."""
    return engine != ENGINES[0] or workers > 1 or resume
