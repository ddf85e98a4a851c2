# SPDX-License-Identifier: Apache-2.0
"""Evaluates models on sources in shards into a folder; combines plan, setup and configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from spatial_vlm_ros.evaluation.engine.case_shards import plan_cases, run_configuration
from spatial_vlm_ros.evaluation.engine.case_task import CaseSetup
from spatial_vlm_ros.evaluation.engine.run import MergedRun, evaluate_shards
from spatial_vlm_ros.evaluation.engine.shards import Outcome
from spatial_vlm_ros.evaluation.engine.workers import Engine
from spatial_vlm_ros.evaluation.model_spec import ModelSpec
from spatial_vlm_ros.evaluation.sources import Source
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.types import FrameOfReference


def evaluate_cases(
    sources: Sequence[Source],
    models: Sequence[ModelSpec],
    config: Settings,
    folder: str | Path,
    engine: Engine,
    *,
    frame_of_reference: FrameOfReference | None = None,
    resume: bool = False,
    watch: Callable[[Outcome, int], None] | None = None,
) -> MergedRun:
    """Ask every model about all cases of all sources; the rows are in the folder, `run.run_rows` reads them.

    Args:
        sources: folders of frames and bags.
        models: the models to ask.
        config: configuration of the resolver, and of how messages become frames.
        folder: path or URI, new or of the same evaluation.
        engine: `local.LocalEngine` or `ray_engine.RayEngine`.
        frame_of_reference: used if the words state none.
        resume: whether to keep existing parts of the folder.
        watch: called after every shard, with the total number of shards.

    Raises:
        SpatialVlmError: as in `plan_cases` and `evaluate_shards`.
    """
    shards = plan_cases(sources, models, config)
    return evaluate_shards(
        CaseSetup(config, tuple(models), frame_of_reference),
        shards,
        folder,
        engine,
        run_configuration(config, frame_of_reference),
        resume=resume,
        watch=None if watch is None else lambda outcome: watch(outcome, len(shards)),
    )
