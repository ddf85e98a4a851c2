# SPDX-License-Identifier: Apache-2.0
"""The unit of work of an evaluation: one model on one folder of frames or one bag, case by case; and all of them.

A source and a model's specification are plain data, so that other processes can do the work. Cases come one by one, and
so do frames, the next ones read ahead in a thread: memory does not grow with their number. What goes wrong with one
image or one case costs that one alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Literal

from spatial_vlm_lab.engine.ahead import made_ahead
from spatial_vlm_lab.scoring.bag_cases import images_of_bag
from spatial_vlm_lab.scoring.case_judge import CaseImage, CaseJudge, EvaluatedCase
from spatial_vlm_lab.scoring.frame_truth import FrameTruth, read_frame_truth
from spatial_vlm_lab.scoring.model_spec import LoadedModel, ModelSpec, check_images, load_model
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.files.documents import parse_json
from spatial_vlm_ros.files.reading import read_lines
from spatial_vlm_ros.output.json_schema import resolution_from_json
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.answering import FolderFrames
from spatial_vlm_ros.recording.bags.reader import open_bag
from spatial_vlm_ros.recording.cases import CASE_REPAIR, Case, load_cases, read_cases
from spatial_vlm_ros.recording.frame_folder import DETECTIONS_FILE
from spatial_vlm_ros.types import FrameOfReference, Resolution

_STORED = "answers"  # name of the model of stored answers: they do not tell who gave them
_ANSWERS_REPAIR = "pass what `spatial-vlm resolve --frames DIR --json` or `spatial-vlm replay BAG --json` wrote"
SourceKind = Literal["frames", "bag"]


@dataclass(frozen=True)
class Source:
    """Images with cases; it can be pickled."""

    uri: str  # of a folder or bag: a path, or a URI that the worker's `open_bag` supports
    kind: SourceKind = "frames"
    truth: str = ""  # file of a bag; "" for a folder, which has its own cases.jsonl
    bags: tuple[str, ...] = ()  # all that are evaluated with that file; empty = only this one
    topics: Mapping[str, str] = field(default_factory=dict)  # role → topic, if they are not told

    def cases(self) -> tuple[Case, ...]:
        """Its cases."""
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
    """Make sources from folders and bags; the truth file of bags is "" if there are none."""
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
) -> Iterator[EvaluatedCase]:
    """Ask a model about all cases of a source and judge the answers; the oracle is asked beside it.

    Cases of a folder come in their order, cases of a bag in the order of its images, and cases without an image last.
    """
    cases = source.cases()
    judge = CaseJudge(model, config.resolver, source.uri, source.folder, frame_of_reference)
    with closing(images_of(source, cases, config, model.spec.is_given, note)) as images:  # the bag, whatever happens
        for case, image in images_ahead(images):
            yield judge.ask(case, image)


def images_of(
    source: Source, cases: Sequence[Case], config: Settings, needs_detections: bool,
    note: Callable[[str], None] = lambda _: None,
) -> Generator[tuple[Case, CaseImage], None, None]:  # fmt: skip
    """Cases of a source with their images, in the order of `evaluate_source`."""
    if source.kind != "frames":
        with open_bag(source.uri) as bag:
            yield from images_of_bag(bag, cases, config, source.topics, needs_detections, note)
        return
    folder, frames = source.folder, FolderFrames(source.folder)  # only the latest image is held
    for case in cases:
        there = frames.load(case.frame)
        truth: FrameTruth | None = None
        problem: SpatialVlmError | None = None
        try:
            truth = read_frame_truth(folder, case)
        except SpatialVlmError as error:
            problem = error if case.expect is not None and case.expect.place is not None else None
        if isinstance(there, SpatialVlmError):
            yield case, CaseImage(None, there, None, truth, problem)
        else:
            frame, detections = there
            known = detections if (folder / case.frame / DETECTIONS_FILE).exists() else None
            yield case, CaseImage(frame, None, known, truth, problem)


def images_ahead(images: Iterable[tuple[Case, CaseImage]]) -> Iterator[tuple[Case, CaseImage]]:
    """The same pairs in the same order, the next two images read and decoded in a thread.

    One of 1280×720 with its depth takes 6.4 MB. An error while reading an image is raised at its position.
    """
    groups = groupby(images, lambda asked: asked[1].frame or object())  # cases that follow each other on one image
    for group in made_ahead((list(asked) for _, asked in groups), 2):
        yield from group


def check_sources(sources: Sequence[Source]) -> None:
    """Check before a long run that every source exists and its cases can be read."""
    for source in sources:
        if "://" not in source.uri and not Path(source.uri).exists():
            what = "a folder with cases.jsonl" if source.kind == "frames" else "a folder that rosbag2 wrote, or a file"
            raise FileError(source.uri, "no such file or folder", f"pass {what}")
        source.cases()


def evaluate_models(
    sources: Sequence[Source],
    specs: Sequence[ModelSpec],
    config: Settings,
    frame_of_reference: FrameOfReference | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[EvaluatedCase]:
    """Every case of every source by every model; each model is loaded once, and one is held at a time.

    If a source or a model fails, its cases are not judged, and a note says so; an only one raises its error.
    """
    for spec in specs:
        try:
            model = load_model(spec)
        except SpatialVlmError as error:
            if len(specs) == 1:
                raise
            note(f"{spec.name} could not be loaded, so its cases are not judged: {error}")
            for source in sources:
                yield from _lost_cases(source, spec.name, config, error)
            continue
        for source in sources:
            done: list[Case] = []

            def told(words: str, uri: str = source.uri) -> None:
                note(f"{uri}: {words}")

            try:
                if source.kind == "bag":  # it does not say what made its images: before it is read
                    check_images(model, config.resolver.domain_gate)
                for one in evaluate_source(source, model, config, frame_of_reference, told):
                    done.append(one.case)
                    yield one
            except SpatialVlmError as error:
                if len(sources) == len(specs) == 1:
                    raise
                note(f"{source.uri}: its cases are not judged for {spec.name}: {error}")
                yield from _lost_cases(source, spec.name, config, error, done)


def _lost_cases(
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


# ------------------------------------------------------------------------------------------------ stored answers


def read_answers(path: str | Path) -> Iterator[Resolution]:
    """Yield the resolutions of a file, one per line."""
    for number, line in read_lines(path, _ANSWERS_REPAIR):  # of bytes: text has line ends that JSON may hold
        value = parse_json(line, path, _ANSWERS_REPAIR, f"line {number}")
        try:
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
            yield resolution_from_json(value)
        except (ValueError, RecursionError) as error:  # InputError of `resolution_from_json` is one, too
            raise FileError(path, str(error), _ANSWERS_REPAIR, f"line {number}") from error


def judge_answers(
    source: Source,
    answers: Iterable[Resolution],
    config: Settings,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[EvaluatedCase]:
    """Judge the cases of a source with given answers; answers without a case are ignored.

    An answer belongs to the case of its frame, or of its image's stamp, and its words; repeated ones in their order.
    """
    given: dict[tuple[str, str], deque[Resolution]] = defaultdict(deque)
    for answer in answers:
        given[_asked(answer)].append(answer)
    cases = source.cases()
    asked = Counter(map(_asked, cases))
    for image, words in asked:
        if not given[image, words]:
            got = f"none for {words!r} on {image}"
            raise InputError("answers", got, "one for each case", "use a run over the same folder or bag")
    more = sum(max(0, len(given[key]) - n) for key, n in asked.items())
    if more:
        note(f"{more} answers repeat a case: only the first answer of each case counts")
    judge = CaseJudge(LoadedModel(ModelSpec(_STORED, _STORED)), config.resolver, source.uri, source.folder)
    for case, image_of_case in images_of(source, cases, config, False, note):
        several = given[_asked(case)]
        yield judge.judge(case, image_of_case, several.popleft() if len(several) > 1 else several[0])


def _asked(about: Case | Resolution) -> tuple[str, str]:
    return about.frame or str(about.stamp_ns), about.instruction


# ------------------------------------------------------------------------------------------------ truth files of bags


_MOST_NAMED = 20  # bags in a message


def load_truth(path: str | Path) -> tuple[Case, ...]:
    """Read the cases of a file for `--truth`, one for each non-blank line."""
    cases = []
    for at, case in read_cases(path, "pass a file with one case of a bag on each line"):
        if case.frame:
            reason = f"the case is of the frame {case.frame!r}"
            raise FileError(path, reason, "put cases of frames in cases.jsonl of their folder", at)
        if not case.stamp_ns:
            raise FileError(path, "the case has no `stamp_ns`", CASE_REPAIR, at)
        cases.append(case)
    if not cases:
        raise FileError(path, "it has no cases", CASE_REPAIR)
    return tuple(cases)


def cases_of_bag(path: str | Path, uri: str, bags: Sequence[str] = ()) -> tuple[Case, ...]:
    """The cases of one bag in a truth file, in its order; `bags` are all evaluated with it, none = this one."""
    truth, at = _by_bag(str(path), _state_of(path))
    nameless = truth.get("", ())
    if nameless and len(set(bags)) > 1:
        reason = f"the case of stamp {nameless[0][1].stamp_ns} names no bag, but {len(set(bags))} bags are evaluated"
        raise FileError(path, reason, 'write "bag": "run1.mcap" into every case')
    names = dict.fromkeys(("", uri, *at.get(_place_of(uri, Path()), ())))
    own = sorted((one for name in names for one in truth.get(name, ())), key=lambda numbered: numbered[0])
    if not own:
        named = ", ".join(sorted(truth)[:_MOST_NAMED])
        raise FileError(path, f"it has no case of {uri}; its cases are of {named}",
                        "fix `bag`: the bag's URI, or its path relative to this file")  # fmt: skip
    return tuple(case for _, case in own)


def bags_left_out(path: str | Path, bags: Sequence[str]) -> dict[str, int]:
    """Bags in a truth file that are not evaluated → number of their cases."""
    truth, _ = _by_bag(str(path), _state_of(path))
    places = {_place_of(uri, Path()) for uri in bags}
    own = {name for name in truth if not name or name in bags or _place_of(name, Path(path).parent) in places}
    return {name: len(cases) for name, cases in truth.items() if name not in own}


def is_same_bag(name: str, uri: str, folder: Path) -> bool:
    """Whether a name in a truth file means a bag: its URI, or a path relative to the file's folder."""
    return name == uri or _place_of(name, folder) == _place_of(uri, Path())


@lru_cache(maxsize=4)
def _by_bag(path: str, state: tuple[int, int]) -> tuple[dict[str, list[tuple[int, Case]]], dict[str, list[str]]]:
    """Numbered cases by the bag that they name, and these names by their place: read once for thousands of bags."""
    del state
    cases: dict[str, list[tuple[int, Case]]] = {}
    for number, case in enumerate(load_truth(path)):
        cases.setdefault(case.bag, []).append((number, case))
    at: dict[str, list[str]] = {}
    for name in cases:
        if name:
            at.setdefault(_place_of(name, Path(path).parent), []).append(name)
    return cases, at


def _state_of(path: str | Path) -> tuple[int, int]:
    try:
        state = Path(path).stat()
    except (OSError, ValueError):  # whoever reads it says so
        return (-1, -1)
    return state.st_size, state.st_mtime_ns


def _place_of(name: str, folder: Path) -> str:
    return name if "://" in name else str((folder / name).resolve())
