# SPDX-License-Identifier: Apache-2.0
"""Bundles as frames and cases that `evaluate` takes: what failed once is asked at every change from then on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.evaluation.evidence.answering import frame_of, settings_of_bundle
from spatial_vlm_ros.evaluation.evidence.bundle import EvidenceBundle
from spatial_vlm_ros.evaluation.frame_folder import (
    CASES_FILE,
    DETECTIONS_FILE,
    SPEAKER_FILE,
    load_cases,
    load_frame,
)
from spatial_vlm_ros.evaluation.frame_writer import write_frame
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.files.reading import MIB, read_bytes
from spatial_vlm_ros.files.writing import write_bytes, write_json
from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
from spatial_vlm_ros.parameters import ResolverConfig, settings_from
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import ANSWERS, Detection, Resolution, RgbdFrame, Status

_KIND = "evidence"
_LARGEST_CASES = 64 * MIB  # 100,000 cases are 20 MB


@dataclass(frozen=True)
class KeptCase:
    """A bundle that has become a case.

    Args:
        frame: name of its folder.
        instruction: the words.
        then: the answer of the bundle.
        now: what the case is answered with now, by the parameters of then.
        expect: the right outcome, as in cases.jsonl; None where nobody said.
    """

    frame: str
    instruction: str
    then: Resolution
    now: Resolution
    expect: dict[str, Any] | None


def keep_as_test(
    bundle: EvidenceBundle, out: Path, status: Status | None = None, id_: str | None = None, as_answered: bool = False
) -> KeptCase:
    """Add the frame of a bundle to a folder of cases, and its words to cases.jsonl.

    Args:
        bundle: it.
        out: the folder; made where it is missing.
        status: the right one; None = not known, unless `as_answered`.
        id_: of the right detection.
        as_answered: the answer of the bundle was right.

    Raises:
        InputError: the bundle has no frame, the words belong to a dialogue, or its frame has no such detection.
        FileError: it is a case of the folder already, or the folder cannot be written.
        SpatialVlmError: the frame cannot be read.
    """
    record, settings = bundle.record, settings_of_bundle(bundle)
    if record.dialogue is not None:
        raise InputError(
            f"{bundle.path}", f"words that go on a dialogue: {record.instruction!r}", "words that stand alone",
            "a folder of frames has no dialogues; replay the bundle itself",
        )  # fmt: skip
    if record.frame == "none":
        raise InputError(f"{bundle.path}", "no frame", "a frame to ask about", "keep a bundle that has one")
    robot = robot_of(settings.streams, settings.resolver.depth)
    frame, found = frame_of(bundle, settings.streams, robot)
    then = record.answer
    expect = _expected(bundle, found or (), then, status, id_, as_answered)
    name = bundle.path.stem
    _write(out, name, frame, found)
    now = Resolver(settings_from(_core(bundle)).resolver).resolve(*_asked(out / name, record.instruction))
    _add_case(out, {"frame": name, "instruction": record.instruction, "kind": [_KIND, then.status.value],
                    **({} if expect is None else {"expect": expect})})  # fmt: skip
    return KeptCase(name, record.instruction, then, now, expect)


def parameters_of(bundles: Sequence[EvidenceBundle]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters of some bundles, and names of those in which the bundles differ; the first one's are given.

    What makes frames of messages is left out: the frames of cases are made.
    """
    chosen = [_core(bundle) for bundle in bundles]
    names = sorted({name for one in chosen for name in one})
    return chosen[0], tuple(name for name in names if any(one.get(name) != chosen[0].get(name) for one in chosen))


def _core(bundle: EvidenceBundle) -> dict[str, Any]:
    """The parameters that an answer rests on; a frame of reference that the request named is that of all words."""
    known = {field.name for field in dataclasses.fields(ResolverConfig)}
    core = {name: value for name, value in bundle.record.parameters.items() if name in known}
    if bundle.record.frame_of_reference:
        core["frame_of_reference"] = bundle.record.frame_of_reference
    return core


def _expected(
    bundle: EvidenceBundle, found: Sequence[Detection], then: Resolution, status: Status | None, id_: str | None,
    as_answered: bool,
) -> dict[str, Any] | None:  # fmt: skip
    if as_answered:
        status, id_ = then.status, then.target.id if then.target is not None and then.status in ANSWERS else None
    elif status is None and id_ is not None:
        status = Status.OK
    if status is None:
        return None
    if id_ is not None and status not in ANSWERS:
        repair = "leave the id out, or expect OK"
        raise InputError(f"id of {bundle.path}", f"{id_!r} with {status.value}", "no object of a refusal", repair)
    ids = [one.id for one in found]
    if id_ is not None and id_ not in ids:
        raise InputError(
            f"id of {bundle.path}", repr(id_), f"one of {', '.join(ids) or 'none'}", "see `evidence list --json`"
        )
    return {"status": status.value, **({} if id_ is None else {"id": id_})}


def _write(out: Path, name: str, frame: RgbdFrame, found: Sequence[Detection] | None) -> None:
    """Write a frame's folder, whole or not at all."""
    folder = out / name
    if folder.exists():
        raise FileError(folder, "this bundle is a case already", "give another --out, or remove the frame and its case")
    with new_folder(folder) as part:
        write_frame(part, frame, found or ())
        if found is None:
            (part / DETECTIONS_FILE).unlink()
        speaker = frame.camera_T_speaker
        if speaker is not None:
            form = {"parent": speaker.parent, "child": speaker.child, "matrix": speaker.matrix.tolist()}
            write_json(part / SPEAKER_FILE, form)


def _asked(folder: Path, words: str) -> tuple[RgbdFrame, str, tuple[Detection, ...]]:
    frame, detections = load_frame(folder)
    return frame, words, detections


def _add_case(out: Path, case: dict[str, Any]) -> None:
    """Add a line to cases.jsonl; the file stays as it was where that fails."""
    path, before = out / CASES_FILE, b""
    try:
        if path.exists():
            load_cases(out)  # a damaged file is not made longer
            before = read_bytes(path, "keep the bundle in another --out", _LARGEST_CASES)
        before += b"\n" if before and not before.endswith(b"\n") else b""
        write_bytes(path, before + json.dumps(case, ensure_ascii=False).encode() + b"\n", force=True)
    except SpatialVlmError:
        shutil.rmtree(out / case["frame"], ignore_errors=True)
        raise


def fits(case: KeptCase) -> bool | None:
    """Whether a case is answered rightly now; None where nobody said what is right."""
    if case.expect is None:
        return None
    given = case.now.target.id if case.now.target is not None and case.now.status in ANSWERS else None
    return case.now.status.value == case.expect["status"] and case.expect.get("id", given) == given
