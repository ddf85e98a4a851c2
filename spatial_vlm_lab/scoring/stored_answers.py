# SPDX-License-Identifier: Apache-2.0
"""Judges stored answers, the JSON lines of `resolve` and `replay`, like new ones.

An answer belongs to the case of its frame, or of its image's stamp, and its words; repeated ones in their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from spatial_vlm_lab.scoring.bag_cases import images_of_bag
from spatial_vlm_lab.scoring.case_judge import CaseImage, CaseJudge, EvaluatedCase
from spatial_vlm_lab.scoring.model_spec import LoadedModel, ModelSpec
from spatial_vlm_lab.scoring.sources import FolderImages, Source
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.bags.reader import Bag, open_bag
from spatial_vlm_ros.evaluation.case import Case
from spatial_vlm_ros.files.documents import parse_json
from spatial_vlm_ros.files.reading import read_lines
from spatial_vlm_ros.output.json_schema import resolution_from_json
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.types import Resolution

STORED = "answers"
"""Name of the model of stored answers: they do not tell who gave them."""
_REPAIR = "pass what `spatial-vlm resolve --frames DIR --json` or `spatial-vlm replay BAG --json` wrote"


def read_answers(path: str | Path) -> Iterator[Resolution]:
    """Yield the resolutions of a file, one per line."""
    for number, line in read_lines(path, _REPAIR):  # of bytes: text has line ends that JSON may hold
        value = parse_json(line, path, _REPAIR, f"line {number}")
        try:
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
            yield resolution_from_json(value)
        except (ValueError, RecursionError) as error:  # InputError of `resolution_from_json` is one, too
            raise FileError(path, str(error), _REPAIR, f"line {number}") from error


def judge_answers(
    source: Source,
    answers: Iterable[Resolution],
    config: Settings,
    note: Callable[[str], None] = lambda _: None,
    opened: Callable[[str], Bag] = open_bag,
) -> Iterator[EvaluatedCase]:
    """Judge the cases of a source with given answers; answers without a case are ignored.

    Args:
        answers: with the frame's name, or the stamp of an image.
    """
    given: dict[tuple[str, str], deque[Resolution]] = defaultdict(deque)
    for answer in answers:
        given[_image(answer.frame, answer.stamp_ns), answer.instruction].append(answer)
    cases = source.cases()
    for case in cases:
        if not given[_image(case.frame, case.stamp_ns), case.instruction]:
            on = repr(case.frame) if case.frame else f"stamp {case.stamp_ns}"
            got = f"none for {case.instruction!r} on {on}"
            raise InputError("answers", got, "one for each case", "use a run over the same folder or bag")
    asked = Counter((_image(case.frame, case.stamp_ns), case.instruction) for case in cases)
    more = sum(max(0, len(given[key]) - n) for key, n in asked.items())
    if more:
        note(f"{more} answers repeat a case: only the first answer of each case counts")
    judge = CaseJudge(LoadedModel(ModelSpec(STORED, STORED)), config.resolver, source.uri, source.folder)
    for case, image in _images(source, cases, config, note, opened):
        several = given[_image(case.frame, case.stamp_ns), case.instruction]
        yield judge.judge(case, image, several.popleft() if len(several) > 1 else several[0])


def _image(frame: str | None, stamp_ns: int) -> str:
    return frame or str(stamp_ns)


def _images(
    source: Source, cases: tuple[Case, ...], config: Settings, note: Callable[[str], None],
    opened: Callable[[str], Bag],
) -> Iterator[tuple[Case, CaseImage]]:  # fmt: skip
    if source.kind == "frames":
        images = FolderImages(source.uri)
        yield from ((case, images.load(case)) for case in cases)
        return
    with opened(source.uri) as bag:
        yield from images_of_bag(bag, cases, config, source.topics, needs_detections=False, note=note)
