# SPDX-License-Identifier: Apache-2.0
"""Makes the decision of a bundle again: the same words and frame, with the recorded parameters or others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.output.json_schema import dialogue_from_json, phrases_from_json, resolution_json
from spatial_vlm_ros.parameters import Settings, StreamConfig, settings_from
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.grounding_checks import match_of
from spatial_vlm_ros.recording.evidence.bundle import EvidenceBundle, KeptModel
from spatial_vlm_ros.recording.replay import ReplayedAnswer
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.spatial.dialogue import refused_in
from spatial_vlm_ros.streams.decoding import detections_of
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, FrameAssembler, PendingFrame
from spatial_vlm_ros.streams.seen_robot import SeenRobot
from spatial_vlm_ros.types import Detection, FrameOfReference, ModelDomain, NounPhrase, Resolution, Rgb, RgbdFrame

_TIMES = ("ms", "timings_ms")


class KeptGrounder:
    """Replays the recorded result of the grounder; other phrases are matched by label."""

    looks = False

    def __init__(self, phrases: Sequence[NounPhrase], grounding: Grounding, domain: ModelDomain, name: str) -> None:
        self._grounding, self.domain, self.name = grounding, domain, name
        self._row = match_of(phrases, grounding)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002 - of the protocol
        """The recorded result; see Grounder.ground. The image is ignored."""
        match: npt.NDArray[np.float64] = np.zeros((len(phrases), len(self._grounding.detections)))
        for row, phrase in enumerate(phrases):
            match[row] = self._row(phrase)
        return dataclasses.replace(self._grounding, match=match)


def settings_of_bundle(bundle: EvidenceBundle) -> Settings:
    """The parameters of the decision."""
    try:
        return settings_from(bundle.record.parameters)
    except InputError as error:
        repair = "pass parameters of this version with --config"
        raise FileError(bundle.path, str(error), repair, "parameters") from error


def frame_of(
    bundle: EvidenceBundle, streams: StreamConfig, robot: SeenRobot | None = None
) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
    """The frame of a bundle and its detections, given or found by the grounder; None if there are none."""
    return _decoded(bundle, _pending(bundle, streams, robot))


def answer_bundle(
    bundle: EvidenceBundle,
    resolver: Resolver,
    streams: StreamConfig,
    *,
    instruction: str | None = None,
    frame_of_reference: FrameOfReference | str | None = None,
    robot: SeenRobot | None = None,
    finds_anew: bool = False,
) -> ReplayedAnswer:
    """Answer the words of a bundle, or others that begin a new dialogue, on its frame.

    The objects are those recorded, or with `finds_anew` those that the resolver's grounder, else unused, finds.
    """
    record = bundle.record
    dialogue = record.dialogue if instruction is None else None
    before = None if dialogue is None else dialogue_from_json(dialogue)
    words = record.instruction if instruction is None else instruction
    said_frame = frame_of_reference or record.frame_of_reference or None

    def refused(error: SpatialVlmError, stamp_ns: int = 0) -> ReplayedAnswer:
        return ReplayedAnswer(refused_in(words, error, before, stamp_ns), None, (), stamp_ns)

    try:
        taken = resolver.taken(words, before)
    except SpatialVlmError as error:  # as live: no frame would help
        return refused(error)
    _check_frame(bundle)
    try:
        pending = _pending(bundle, streams, robot)
    except SpatialVlmError as error:
        return refused(error)
    try:
        frame, found = _decoded(bundle, pending)
    except SpatialVlmError as error:
        return refused(error, pending.stamp_ns)
    if not finds_anew and found is None:
        expected, repair = "those of a model or a topic", "find them with --grounder NAME"
        raise InputError("detections of the bundle", "none", expected, repair)
    if not finds_anew and record.grounding is not None:
        kept, model = record.grounding, record.model or KeptModel("a grounder")
        phrases, seen = phrases_from_json(kept.phrases), found or ()
        match = np.array(kept.match, np.float64).reshape(len(phrases), -1) if kept.match else np.zeros((0, len(seen)))
        if match.shape != (len(phrases), len(seen)):
            got = f"a match matrix of shape {match.shape} for {len(phrases)} phrases and {len(seen)} detections"
            raise FileError(bundle.path, got, "use the bundle as the node wrote it", "grounding")
        grounding = Grounding(seen, match, tuple(kept.unread), kept.profile)
        domain = cast(ModelDomain, model.domain)
        decision = dataclasses.replace(resolver.config.decision, taught="")  # its names are in the grounding
        config = dataclasses.replace(resolver.config, decision=decision)
        resolver = Resolver(config, KeptGrounder(phrases, grounding, domain, model.name))
    given = found if not finds_anew and record.grounding is None else None
    resolution, seen, scene, _ = resolver.look_at(frame, given, UNMEASURED).ask(
        words, said_frame, before or (), taken=taken
    )
    return ReplayedAnswer(resolution, frame, seen, frame.stamp_ns, scene)


def differences(then: Resolution, now: Resolution) -> tuple[str, ...]:
    """Fields in which two answers differ, without their times."""
    one, other = resolution_json(then), resolution_json(now)
    return tuple(name for name in one if name not in _TIMES and one[name] != other.get(name))


def _check_frame(bundle: EvidenceBundle) -> None:
    if bundle.record.frame == "none":
        said = f"{bundle.record.resolution.get('status')}: {bundle.record.resolution.get('message')}"
        raise InputError(f"{bundle.path}", "no frame", "a frame", f"the decision had none ({said})")


def _pending(bundle: EvidenceBundle, streams: StreamConfig, robot: SeenRobot | None) -> PendingFrame:
    _check_frame(bundle)
    assembler = FrameAssembler(streams, with_detections=False, robot=robot)
    for message, static in bundle.transforms:
        assembler.transforms.add_message(message, static)
    anew = bundle.record.reencoded
    return assembler.assemble({role: message for role, message in bundle.messages.items() if role not in anew})


def _decoded(bundle: EvidenceBundle, pending: PendingFrame) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
    frame, found = pending.decode()
    if DETECTIONS in bundle.record.reencoded:  # these are of the decoded image: nothing of them is to be turned back
        found = detections_of(bundle.messages[DETECTIONS], frame.camera.width, frame.camera.height)
    return frame, found
