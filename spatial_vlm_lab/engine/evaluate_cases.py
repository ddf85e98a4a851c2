# SPDX-License-Identifier: Apache-2.0
"""Evaluates models on sources in shards into a folder; combines plan, setup and configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spatial_vlm_lab.engine.bag_window import BagWindow
from spatial_vlm_lab.engine.case_shards import CaseWork, plan_cases, run_configuration
from spatial_vlm_lab.engine.run import MergedRun, evaluate_shards
from spatial_vlm_lab.engine.shards import Outcome, Row, Shard, ShardAnswers
from spatial_vlm_lab.engine.workers import Engine
from spatial_vlm_lab.scoring.bag_cases import images_of_bag
from spatial_vlm_lab.scoring.case_judge import CaseImage, CaseJudge
from spatial_vlm_lab.scoring.model_spec import LoadedModel, ModelSpec, check_images, load_model
from spatial_vlm_lab.scoring.sources import Source, images_ahead, images_of
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.types import FrameOfReference

# Answers and judges the cases of a shard. Models are loaded once in each worker, images are decoded ahead.
#
# One image is lifted once for all its sentences; while they are answered, a thread reads and decodes the next images.


@dataclass(frozen=True)
class CaseSetup:
    """Setup of a worker; can be sent to other processes.

    Args:
        frame_of_reference: used if the words state none.
    """

    config: Settings = field(default_factory=Settings)
    models: tuple[ModelSpec, ...] = ()
    frame_of_reference: FrameOfReference | None = None

    def __call__(self) -> CaseTask:
        """Load the model if there is only one."""
        task = CaseTask(self)
        if len(self.models) == 1:
            task.model(self.models[0])
        return task


class CaseTask:
    """Answers shards of `case_shards.plan_cases`; one model is held at a time."""

    def __init__(self, setup: CaseSetup) -> None:
        self._setup = setup
        self._model: LoadedModel | None = None

    def model(self, spec: ModelSpec) -> LoadedModel:
        """A model, loaded where it is not the one that is there."""
        if self._model is None or self._model.spec != spec:
            self._model = None  # or two models are in memory at once
            self._model = load_model(spec)
        return self._model

    def __call__(self, shard: Shard) -> ShardAnswers:
        """Answer a shard: a row for each case, in order, and notes about the source."""
        work: CaseWork = shard.payload
        model, source = self.model(work.model), work.source
        if source.kind == "bag":  # which does not say what made its images
            check_images(model, self._setup.config.resolver.domain_gate)
        judge = CaseJudge(model, self._setup.config.resolver, work.shown, source.folder, self._setup.frame_of_reference)
        rows: dict[int, Row] = {}
        notes: list[str] = []

        def note(words: str) -> None:
            notes.append(f"{work.shown}: {words}")

        for case, image in images_ahead(self._images(work, note)):
            rows[id(case)] = judge.ask(case, image).row()
        return ShardAnswers(tuple(rows[id(case)] for case in work.cases), tuple(notes))

    def _images(self, work: CaseWork, note: Callable[[str], None]) -> Iterator[tuple[Case, CaseImage]]:
        if work.part is None:
            return images_of(work.source, work.cases, self._setup.config, work.model.is_given, note)
        return self._of_part(work, note)

    def _of_part(self, work: CaseWork, note: Callable[[str], None]) -> Iterator[tuple[Case, CaseImage]]:
        """Images of a part of a bag; what is not found there is looked for in all of it."""
        source, missing = work.source, {id(case): case for case in work.cases}
        damage: FileError | None = None
        assert work.part is not None  # noqa: S101
        with BagWindow(source.uri, work.part) as bag:
            found = images_of_bag(bag, work.cases, self._setup.config, source.topics, work.model.is_given, _say_nothing)
            for case, image in found:
                if isinstance(image.problem, FileError):
                    damage = image.problem
                elif image.problem is not None:  # no image of the part has its stamp
                    continue
                del missing[id(case)]
                yield case, image
                if not missing:
                    break
        if damage is not None:
            note(f"the bag is damaged: {damage}; later cases in the same part are not judged")
        if missing:
            note(f"{len(missing)} cases have stamps without a nearby image; the whole bag was read for them")
            cases = tuple(missing.values())
            yield from images_of(source, cases, self._setup.config, work.model.is_given, note)


def _say_nothing(words: str) -> None:
    del words


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
