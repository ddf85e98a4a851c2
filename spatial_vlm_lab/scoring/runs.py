# SPDX-License-Identifier: Apache-2.0
"""Reads stored runs: the answer to each case, from the command line's JSON.

Reads the forms of this and of other versions; independent of expectations.

    JSON of `spatial-vlm evaluate --json` or `--out`     an object with "cases", or with "models" that have them
    JSON lines of `spatial-vlm resolve --frames --json`   one resolution a line; so does `replay --json`
    a JSON list of resolutions
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import msgspec

from spatial_vlm_lab.scoring.case_result import answered_id
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.recording.frame_folder import decode_json
from spatial_vlm_ros.types import SpaceAnswer, Status

_LARGEST_RUN = 1 << 26  # bytes: 100,000 cases of 600 bytes
_REPAIR = "pass what `spatial-vlm evaluate --out` or `spatial-vlm resolve --frames --json` wrote"


class StoredAnswer(msgspec.Struct, frozen=True):
    """Stored answer to one case; other fields may come and go.

    Args:
        frame: name of the frame; "" or None for an image in a bag.
        stamp_ns: stamp of that image, nanoseconds.
        as_expected: whether it was as expected then, where the run keeps that.
    """

    frame: str | None
    instruction: str
    status: Status
    id: str | None
    answer: SpaceAnswer | None = None
    as_expected: bool | None = None
    source: str = ""
    stamp_ns: int = 0

    @property
    def image(self) -> str:
        """Name of the frame, or the stamp of an image in a bag."""
        return self.frame or str(self.stamp_ns)


class _Target(msgspec.Struct):
    id: str


class _Resolution(msgspec.Struct):
    instruction: str
    status: Status
    target: _Target | None
    frame: str | None = None
    answer: SpaceAnswer | None = None
    stamp_ns: int = 0


class _FirstLine(msgspec.Struct):
    instruction: str | None = None


class _Run(msgspec.Struct):
    cases: tuple[StoredAnswer, ...] = ()
    model: str = ""
    models: tuple[_Run, ...] = ()


def read_runs(path: str | Path) -> dict[str, tuple[StoredAnswer, ...]]:
    """Read the answers of stored runs: model → answers, in order.

    Args:
        path: JSON or JSON lines, see the module's forms.

    Returns:
        Name of the model, "" if the file tells none → its answers.
    """
    text = read_bytes(path, _REPAIR, _LARGEST_RUN)
    stripped = text.lstrip()
    if not stripped:
        raise FileError(path, "the file is empty", _REPAIR)
    try:
        has_lines = msgspec.json.decode(stripped.partition(b"\n")[0], type=_FirstLine).instruction is not None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        has_lines = False  # a list, an object over several lines, or nothing that is known
    if has_lines:
        above = text.count(b"\n", 0, len(text) - len(stripped))
        lines = ((f"line {n}", line) for n, line in enumerate(io.BytesIO(stripped), above + 1) if line.strip())
        return {"": _answers(path, ((at, decode_json(line, _Resolution, path, at, _REPAIR)) for at, line in lines))}
    if stripped.startswith(b"["):
        listed = decode_json(text, list[_Resolution], path, repair=_REPAIR)
        return {"": _answers(path, ((f"$[{n}]", one) for n, one in enumerate(listed)))}
    run = decode_json(text, _Run, path, repair=_REPAIR)
    runs = run.models or (run,)
    if not all(one.cases for one in runs):
        raise FileError(path, "it has no cases", _REPAIR)
    return {one.model: one.cases for one in runs}


def _answers(path: str | Path, found: Iterable[tuple[str, _Resolution]]) -> tuple[StoredAnswer, ...]:
    answers = []
    for place, one in found:
        if one.frame is None and not one.stamp_ns:
            repair = "pass answers to a folder of cases or a bag: `resolve --frames DIR --json` or `replay --json`"
            raise FileError(path, "it does not name its frame", repair, place)
        id_ = one.target.id if one.target is not None else answered_id(one.answer)
        told = StoredAnswer(one.frame, one.instruction, one.status, id_, one.answer, stamp_ns=one.stamp_ns)
        answers.append(told)
    return tuple(answers)
