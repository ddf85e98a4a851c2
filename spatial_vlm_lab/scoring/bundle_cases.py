# SPDX-License-Identifier: Apache-2.0
"""Converts bundles to frames and cases for `evaluate`, so that a failure is tested after every later change."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatial_vlm_lab.labelling.truth_proposal import ground_of, proposed
from spatial_vlm_lab.scoring.case_result import CaseEvidence, judge_case
from spatial_vlm_lab.scoring.frame_truth import read_frame_truth
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.files.reading import MIB, read_bytes
from spatial_vlm_ros.files.writing import new_folder, write_bytes, write_json
from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
from spatial_vlm_ros.parameters import ResolverConfig, settings_from
from spatial_vlm_ros.recording import frame_folder
from spatial_vlm_ros.recording.cases import CASES_FILE, load_cases
from spatial_vlm_ros.recording.evidence.bundle import EvidenceBundle, frame_of, settings_of_bundle
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Resolution, Status

_KIND = "evidence"
_LARGEST_CASES = 64 * MIB  # 100,000 cases are 20 MB


@dataclass(frozen=True)
class KeptCase:
    """A case made from a bundle; `expect` and `is_right` are None if the right outcome is not given."""

    frame: str
    instruction: str
    then: Resolution
    now: Resolution
    expect: dict[str, Any] | None
    is_right: bool | None


def keep_as_test(
    bundle: EvidenceBundle, out: Path, status: Status | None = None, id_: str | None = None, as_answered: bool = False
) -> KeptCase:
    """Add the frame of a bundle to a folder of cases, and its words to cases.jsonl.

    What is right is told by `status`, by `id_`, the object of an answer that is OK, or by the recorded answer, if
    `as_answered`: object, value and place.
    """
    check_keepable(bundle, out)
    record, settings = bundle.record, settings_of_bundle(bundle)
    robot = robot_of(settings.streams, settings.resolver.depth)
    frame, found = frame_of(bundle, settings.streams, robot)
    then = record.answer
    expect: dict[str, Any] | None = None if status is None else {"status": status.value}
    if id_ is not None:
        ids = [one.id for one in found or ()]
        if id_ not in ids:
            known = f"one of {', '.join(ids) or 'none'}"
            raise InputError(f"id of {bundle.path}", repr(id_), known, "see `evidence list --json`")
        expect = {"status": Status.OK.value, "id": id_}
    name = bundle.path.stem
    with new_folder(out / name) as part:
        frame_folder.write_frame(part, frame, found or ())
        if found is None:
            (part / frame_folder.DETECTIONS_FILE).unlink()
        if frame.camera_T_speaker is not None:
            write_json(part / frame_folder.SPEAKER_FILE, frame_folder.transform_form(frame.camera_T_speaker))
    asked, given = frame_folder.load_frame(out / name)
    answered = Resolver(settings_from(_core(bundle)).resolver).look_at(asked, given).ask(record.instruction)
    if as_answered:
        ground = None if answered.scene is None else ground_of(answered.scene, asked.base_T_camera)
        expect = proposed(then, found or (), ground, by_id=True)
    case = {"frame": name, "instruction": record.instruction, "kind": [_KIND, then.status.value],
            **({} if expect is None else {"expect": expect})}  # fmt: skip
    path, before = out / CASES_FILE, b""
    try:
        if path.exists():
            load_cases(out)  # a damaged file is not made longer
            before = read_bytes(path, "keep the bundle in another --out", _LARGEST_CASES)
        before += b"\n" if before and not before.endswith(b"\n") else b""
        write_bytes(path, before + json.dumps(case, ensure_ascii=False).encode() + b"\n", force=True)
    except SpatialVlmError:
        shutil.rmtree(out / name, ignore_errors=True)
        raise
    newest, is_right = load_cases(out)[-1], None
    if newest.expect is not None:  # as `evaluate` judges
        evidence = CaseEvidence(truth=read_frame_truth(out, newest))
        is_right = judge_case(newest, newest.expect, answered.resolution, evidence).complete
    return KeptCase(name, record.instruction, then, answered.resolution, expect, is_right)


def check_keepable(bundle: EvidenceBundle, out: Path) -> None:
    """Check that a bundle can become a case of a folder."""
    record = bundle.record
    if record.dialogue is not None:
        raise InputError(
            f"{bundle.path}", f"words that continue a dialogue: {record.instruction!r}", "a complete instruction",
            "a folder of frames has no dialogues: replay the bundle instead",
        )  # fmt: skip
    if record.frame == "none":
        raise InputError(f"{bundle.path}", "no frame", "a frame", "choose a bundle that has one")
    folder = out / bundle.path.stem
    if folder.exists():
        repair = "choose another --out, or remove the frame and its case"
        raise FileError(folder, "this bundle is already a case", repair)


def parameters_of(bundles: Sequence[EvidenceBundle]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Parameters of the first bundle, without those of messages, and names of those in which others differ."""
    chosen = [_core(bundle) for bundle in bundles]
    names = sorted({name for one in chosen for name in one})
    return chosen[0], tuple(name for name in names if any(one.get(name) != chosen[0].get(name) for one in chosen))


def _core(bundle: EvidenceBundle) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(ResolverConfig)}
    core = {name: value for name, value in bundle.record.parameters.items() if name in known}
    if bundle.record.frame_of_reference:
        core["frame_of_reference"] = bundle.record.frame_of_reference
    return core
