# SPDX-License-Identifier: Apache-2.0
"""All models on all sources, one after the other, in this process: each model is loaded once.

If a source or a model fails, its cases are not judged, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from spatial_vlm_lab.scoring.case_judge import EvaluatedCase
from spatial_vlm_lab.scoring.model_spec import LoadedModel, ModelSpec, check_images, load_model
from spatial_vlm_lab.scoring.sources import Source, evaluate_source, lost_cases
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.evaluation.case import Case
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.types import FrameOfReference


def evaluate_models(
    sources: Sequence[Source],
    specs: Sequence[ModelSpec],
    config: Settings,
    frame_of_reference: FrameOfReference | None = None,
    note: Callable[[str], None] = lambda _: None,
    watch: Callable[[str, int], None] = lambda _model, _cases: None,
) -> Iterator[EvaluatedCase]:
    """Every case of every source by every model.

    Args:
        frame_of_reference: used if the words state none.
    """
    for spec in specs:
        try:
            model = load_model(spec)
        except SpatialVlmError as error:
            if len(specs) == 1:
                raise
            note(f"{spec.name} could not be loaded, so its cases are not judged: {error}")
            for source in sources:
                yield from lost_cases(source, spec.name, config, error)
            continue
        is_only = len(sources) == len(specs) == 1
        for source in sources:
            yield from _one(source, model, config, frame_of_reference, note, watch, is_only)


def _one(
    source: Source, model: LoadedModel, config: Settings, frame_of_reference: FrameOfReference | None,
    note: Callable[[str], None], watch: Callable[[str, int], None], is_only: bool,
) -> Iterator[EvaluatedCase]:  # fmt: skip
    done: list[Case] = []
    try:
        if source.kind == "bag":  # it does not say what made its images: before it is read
            check_images(model, config.resolver.domain_gate)
        for one in evaluate_source(
            source, model, config, frame_of_reference,
            note=lambda words: note(f"{source.uri}: {words}"),
            watch=lambda cases: watch(model.name, len(cases)),
        ):  # fmt: skip
            done.append(one.case)
            yield one
    except SpatialVlmError as error:
        if is_only:
            raise
        note(f"{source.uri}: its cases are not judged for {model.name}: {error}")
        yield from lost_cases(source, model.name, config, error, done)
