# SPDX-License-Identifier: Apache-2.0
"""The unit of work of an evaluation: one model on one folder of frames or one bag, case by case.

A source and a model's specification are plain data, so that other processes can do the work. A model is loaded once
(`model_spec.load_model`) and passed to every source. Cases come one by one, and so do frames, the next ones read ahead
in a thread: memory does not grow with their number. What goes wrong with one image or one case costs that one alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spatial_vlm_lab.scoring.bag_cases import images_of_bag
from spatial_vlm_lab.scoring.case_judge import CaseImage, CaseJudge, EvaluatedCase
from spatial_vlm_lab.scoring.images_ahead import images_ahead
from spatial_vlm_lab.scoring.model_spec import LoadedModel, ModelSpec
from spatial_vlm_lab.scoring.truth_file import cases_of_bag
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.evaluation.answering import FolderFrames
from spatial_vlm_ros.evaluation.bags.reader import Bag, open_bag
from spatial_vlm_ros.evaluation.case import Case
from spatial_vlm_ros.evaluation.expected_place import FrameTruth
from spatial_vlm_ros.evaluation.frame_folder import DETECTIONS_FILE, load_cases
from spatial_vlm_ros.evaluation.frame_truth import load_truths
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.types import FrameOfReference

SourceKind = Literal["frames", "bag"]


@dataclass(frozen=True)
class Source:
    """Images with cases; it can be pickled.

    Args:
        uri: folder or bag: a path, or a URI that the worker's `open_bag` supports.
        kind: "frames" or "bag".
        truth: truth file of a bag; "" for a folder, which has its own cases.jsonl.
        bags: all bags that are evaluated with that file; empty = only this one.
        topics: role → topic, if the names of a bag's topics are not sufficient; see `bag_topics`.
    """

    uri: str
    kind: SourceKind = "frames"
    truth: str = ""
    bags: tuple[str, ...] = ()
    topics: Mapping[str, str] = field(default_factory=dict)

    def cases(self) -> tuple[Case, ...]:
        """Its cases.

        Raises:
            FileError: the cases cannot be read or there are none; the message names the line.
        """
        if self.kind == "bag":
            return cases_of_bag(self.truth, self.uri, self.bags)
        return load_cases(self.uri)

    @property
    def folder(self) -> Path:
        """Base folder of the paths in its truth."""
        return Path(self.truth).parent if self.kind == "bag" else Path(self.uri)


def sources_of(
    frames: Sequence[str], bags: Sequence[str], truth: str = "", topics: Mapping[str, str] | None = None
) -> tuple[Source, ...]:
    """Make sources from folders and bags.

    Args:
        truth: a file of cases; "" = none.
    """
    if not frames and not bags:
        raise InputError("--frames, --bags", "neither is set", "a folder of frames or a bag")
    if bags and not truth:
        raise InputError("--truth", "not set", "the file with the cases of the bags", "docs/evaluate.md describes it")
    if truth and not bags:
        repair = "set --bags; cases of frames are in cases.jsonl of their folder"
        raise InputError("--truth", truth, "a file of cases beside --bags", repair)
    named = [*frames, *bags]
    twice = next((uri for uri in named if named.count(uri) > 1), None)
    if twice is not None:
        raise InputError("--frames, --bags", f"{twice!r} twice", "each source once", "remove one of them")
    return (
        *(Source(uri) for uri in frames),
        *(Source(uri, "bag", truth, tuple(bags), dict(topics or {})) for uri in bags),
    )


def evaluate_source(
    source: Source,
    model: LoadedModel,
    config: Settings,
    frame_of_reference: FrameOfReference | None = None,
    note: Callable[[str], None] = lambda _: None,
    opened: Callable[[str], Bag] = open_bag,
    watch: Callable[[Sequence[Case]], None] = lambda _: None,
) -> Iterator[EvaluatedCase]:
    """Ask a model about all cases of a source and judge the answers; the oracle is asked beside it.

    Cases of a folder come in their order, cases of a bag in the order of its images, and cases without an image last.

    Args:
        source: the folder or bag.
        model: loaded.
        config: configuration of the resolver, and of how messages become frames.
        frame_of_reference: used if the words state none.
        note: called with messages about the source as a whole: repeated stamps, jumps in time, a damaged end.
        opened: opens a bag.
        watch: called with all cases before the first is asked, for progress bars.

    Raises:
        FileError: the cases cannot be read, or a bag cannot be opened.
        InputError: a bag lacks a topic, or several match; the message lists the topics.
    """
    cases = source.cases()
    watch(cases)
    judge = CaseJudge(model, config.resolver, source.uri, source.folder, frame_of_reference)
    if source.kind == "frames":
        yield from _of_folder(source, cases, judge)
        return
    with opened(source.uri) as bag:
        images = images_of_bag(bag, cases, config, source.topics, needs_detections=model.spec.is_given, note=note)
        for case, image in images_ahead(images):
            yield judge.ask(case, image)


def _of_folder(source: Source, cases: Sequence[Case], judge: CaseJudge) -> Iterator[EvaluatedCase]:
    frames = FolderImages(source.uri)
    for case, image in images_ahead((case, frames.load(case)) for case in cases):
        yield judge.ask(case, image)


class FolderImages:
    """Images of a folder with their truth; caches only the latest."""

    def __init__(self, folder: str | Path) -> None:
        self._folder, self._frames = Path(folder), FolderFrames(folder)
        self._latest: tuple[str, CaseImage] | None = None
        self._truths: tuple[str, bool, FrameTruth | SpatialVlmError | None] | None = None

    def load(self, case: Case) -> CaseImage:
        """Load the image of a case."""
        there = self._frames.load(case.frame)
        truth = self._truth(case)
        problem = truth if isinstance(truth, SpatialVlmError) else None
        found = truth if isinstance(truth, FrameTruth) else None
        if isinstance(there, SpatialVlmError):
            return CaseImage(None, there, None, found, problem)
        frame, detections = there
        has_detections = (self._folder / case.frame / DETECTIONS_FILE).exists()
        return CaseImage(frame, None, detections if has_detections else None, found, problem)

    def _truth(self, case: Case) -> FrameTruth | SpatialVlmError | None:
        """Truth of the frame, None if not known, or the error."""
        needed = case.expect is not None and case.expect.place is not None
        known = self._truths
        if known is None or known[:2] != (case.frame, needed):
            try:
                found: FrameTruth | SpatialVlmError | None = load_truths(self._folder, [case]).get(case.frame)
            except SpatialVlmError as error:
                found = error if needed else None
            known = self._truths = case.frame, needed, found
        return known[2]


def check_sources(sources: Sequence[Source]) -> None:
    """Check before a long run that every source exists and its cases can be read."""
    for source in sources:
        if "://" not in source.uri and not Path(source.uri).exists():
            what = "a folder with cases.jsonl" if source.kind == "frames" else "a folder that rosbag2 wrote, or a file"
            raise FileError(source.uri, "no such file or folder", f"pass {what}")
        source.cases()


def lost_cases(
    source: Source, model: str, config: Settings, error: SpatialVlmError, done: Sequence[Case] = ()
) -> Iterator[EvaluatedCase]:
    """Yield the remaining cases of a source or a model that failed, without asking them."""
    judge = CaseJudge(LoadedModel(ModelSpec(model)), config.resolver, source.uri, source.folder)
    answered = Counter(done)
    for case in source.cases():
        if answered[case]:
            answered[case] -= 1
        else:
            yield judge.ask(case, CaseImage(error=error, lost=True))
