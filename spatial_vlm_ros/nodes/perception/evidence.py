# SPDX-License-Identifier: Apache-2.0
"""Stores decisions as evidence bundles in the background, on a separate thread with a short queue.

Nothing waits for it. If the disk is slower than the requests, decisions are dropped and counted; a disk error is logged
once and shown in /diagnostics. No ROS: the function that serialises messages is passed in.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import platform
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros import __version__
from spatial_vlm_ros.budgets import MOST_WAITING
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.nodes.perception.requests import InstructionRequest, KeptFrame, RequestOutcome
from spatial_vlm_ros.output.json_schema import as_json, resolution_json
from spatial_vlm_ros.parameters import EvidenceConfig, Settings
from spatial_vlm_ros.parameters.nodes import values_of
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.streams.frame_assembler import (
    DEPTH_INFO,
    DETECTIONS,
    RGB,
    RGB_INFO,
    FrameAssembler,
    PendingFrame,
    stamp_of,
)
from spatial_vlm_ros.types import ANSWERS, Status

if TYPE_CHECKING:
    from spatial_vlm_ros.recording.evidence.bundle import EvidenceRecord, KeptMessage, KeptModel

_log = logging.getLogger(__name__)

NO_DECISIONS = (Status.BUSY, Status.CANCELLED)
"""Statuses of requests without a decision: they are not stored."""
_LOOKS = 2.0  # s between two checks whether the keeper was closed
_RECENT = 10.0  # s for which /diagnostics mentions dropped decisions

Serialise = Callable[[Any], tuple[str, bytes]]
"""Converts a message to its type name, such as "sensor_msgs/msg/Image", and its CDR bytes."""


@dataclass(frozen=True, eq=False)
class _Kept:
    request: InstructionRequest
    outcome: RequestOutcome
    frame: KeptFrame
    utc: float


class EvidenceKeeper:
    """Writes decisions as evidence bundles.

    Args:
        serialise: converts a message to bytes.
        grounder: finds the objects; None = detections come with the frames.
        warn: writes a line to the log; also called from the writing thread.

    Attributes:
        kept, dropped, failed: how many decisions were written, came too fast, could not be written.
        latest: name of the newest bundle.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        topics: Callable[[], Mapping[str, str]],
        serialise: Serialise,
        grounder: Any,
        node: str,
        warn: Callable[[str], Any],
    ) -> None:
        self._settings, self._topics, self._serialise, self._grounder = settings, topics, serialise, grounder
        self._node, self._warn = node, warn
        self._waiting: queue.Queue[_Kept | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._model: KeptModel | None = None
        self._closed = False
        self.kept = self.dropped = self.failed = 0
        self._trouble = self.latest = ""
        self._dropped_at = -_RECENT

    @property
    def config(self) -> EvidenceConfig:
        """Current settings: what to store, and where."""
        return self._settings().evidence

    @property
    def trouble(self) -> str:
        """Why decisions cannot be stored now; "" = they can."""
        if not self._trouble and time.monotonic() - self._dropped_at < _RECENT:
            return f"{self.dropped} decisions were not kept: they arrive faster than the disk can write them"
        return self._trouble

    def told(self) -> dict[str, Any]:
        """Values for /diagnostics."""
        from spatial_vlm_ros.recording.evidence.bundle import evidence_folder

        try:
            folder = str(evidence_folder(self.config.folder))
        except SpatialVlmError:
            folder = self.config.folder
        return {
            "keep": self.config.keep, "folder": folder, "kept": self.kept, "not kept, queue full": self.dropped,
            "not kept, failed": self.failed, "waiting": self._waiting.qsize(), "newest": self.latest,
        }  # fmt: skip

    # -------------------------------------------------------------------------------------------- executor's thread

    def taken(self, pending: PendingFrame, assembler: FrameAssembler) -> KeptFrame | None:
        """Copy what must be stored of a request's frame; None if nothing is stored."""
        if self.config.keep == "off" or self._closed:
            return None
        with self._guarded():
            infos = {RGB_INFO: pending.rgb_info, DEPTH_INFO: pending.depth_info}
            messages = {**pending.match.messages, **{role: info for role, info in infos.items() if info is not None}}
            transforms = assembler.transforms_of(messages)
            return KeptFrame(messages, pending.match.arrivals, transforms, self._settings(), "answered")
        return None

    def decided(self, request: InstructionRequest, outcome: RequestOutcome, assembler: FrameAssembler) -> None:
        """Queue a decision to be stored if its kind is; called after the reply. Never blocks, never raises."""
        keep, status = self.config.keep, outcome.resolution.status
        wanted = keep != "off" and status not in NO_DECISIONS and (keep == "all" or status not in ANSWERS)
        if not wanted or self._closed:
            return
        with self._guarded():
            frame = request.kept
            if frame is None:
                newest = assembler.newest_messages()
                transforms = () if newest is None else assembler.transforms_of(newest)
                origin = "none" if newest is None else "newest"
                frame = KeptFrame(newest or {}, {}, transforms, self._settings(), origin)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)
                self._thread.start()
            try:
                self._waiting.put_nowait(_Kept(request, outcome, frame, time.time()))
            except queue.Full:
                self.dropped += 1
                if time.monotonic() - self._dropped_at >= _RECENT:
                    self._warn("decisions are not kept as evidence: they arrive faster than the disk can write them")
                self._dropped_at = time.monotonic()

    def close(self, wait_s: float = 0.0) -> None:
        """Accept no more decisions, and wait up to `wait_s` seconds for queued ones to be written."""
        self._closed = True
        if self._thread is None:
            return
        end = time.monotonic() + wait_s
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=wait_s) if wait_s > 0 else self._waiting.put_nowait(None)
        if wait_s > 0:
            self._thread.join(max(0.0, end - time.monotonic()))

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        try:
            yield
        except Exception as error:
            self._note_failure(error)

    # -------------------------------------------------------------------------------------------- writing thread

    def _run(self) -> None:
        while True:
            try:
                kept = self._waiting.get(timeout=_LOOKS)
            except queue.Empty:
                if self._closed:  # and the end marker did not fit into the queue
                    return
                continue
            if kept is None:
                return
            try:
                self._write(kept)
            except Exception as error:  # any disk error costs only this bundle
                self._note_failure(error)
            finally:
                del kept  # images are large

    def _write(self, kept: _Kept) -> None:
        from spatial_vlm_ros.recording.evidence.bundle import EvidenceStore, evidence_folder, write_bundle

        config = self.config
        record, messages = self._record(kept), self._messages(kept)
        store = EvidenceStore(evidence_folder(config.folder), config.most_bytes, config.most_files)
        status = kept.outcome.resolution.status.value
        path = store.keep(status, kept.utc, lambda out: write_bundle(out, record, messages, kept.frame.transforms))
        self.kept += 1
        self.latest, self._trouble = path.name, ""

    def _note_failure(self, error: Exception) -> None:
        """Count a failure; log it if the previous bundle was stored."""
        self.failed += 1
        if isinstance(error, SpatialVlmError):
            words = str(error)
        else:
            words = f"{type(error).__name__}: {error}"
            _log.error("unexpected exception while keeping evidence", exc_info=error)
        was_well, self._trouble = not self._trouble, words
        if was_well:
            self._warn(f"decisions are not kept as evidence, but requests are still served: {words}")

    def _record(self, kept: _Kept) -> EvidenceRecord:
        from spatial_vlm_ros.recording.evidence.bundle import EvidenceRecord, KeptGrounding, model_of

        request, outcome = kept.request, kept.outcome
        when = datetime.datetime.fromtimestamp(kept.utc, datetime.timezone.utc)
        found = None
        if outcome.found is not None:
            phrases, grounding = outcome.found
            found = KeptGrounding(as_json(phrases), grounding.match.tolist(), grounding.unread, grounding.profile)
        grounder = self._grounder
        if grounder is not None and self._model is None:  # the hashes of its files are computed once
            name = str(getattr(grounder, "name", type(grounder).__name__))
            self._model = model_of(name, getattr(grounder, "options", {}), domain_of(grounder))
        versions = {"spatial_vlm_ros": __version__, "python": platform.python_version(), "numpy": np.__version__}
        for name in ("opencv-python-headless", "opencv-python", "rosbags", "rclpy", "onnxruntime"):
            with contextlib.suppress(PackageNotFoundError):
                versions[name] = version(name)
        return EvidenceRecord(
            utc=when.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            instruction=request.instruction,
            frame_of_reference=request.frame_of_reference,
            resolution=resolution_json(outcome.resolution),
            parameters=values_of(kept.frame.settings),
            frame=kept.frame.origin,  # type: ignore[arg-type]
            reencoded=(DETECTIONS,) if self._detections_anew(kept) else (),
            dialogue=None if request.before is None else as_json(request.before),
            grounding=found,
            model=self._model,
            versions=versions,
            node=self._node,
        )

    def _messages(self, kept: _Kept) -> list[KeptMessage]:
        """The frame's messages as received; detections of a model or of vision_msgs become a DetectionArray."""
        from spatial_vlm_ros.recording.bags.topics import DETECTION_ARRAY
        from spatial_vlm_ros.recording.evidence.bundle import KeptMessage

        frame, topics = kept.frame, self._topics()
        anew = self._detections_anew(kept)
        begin_ns = min(frame.arrivals.values(), default=kept.request.accepted_ns)
        messages = []
        for role, message in frame.messages.items():
            if role == DETECTIONS and (anew or not _is_ours(message)):
                continue
            type_, data = self._serialise(message)
            log_ns = frame.arrivals.get(role, begin_ns)
            messages.append(KeptMessage(role, topics.get(role, role), type_, data, log_ns))
        if anew:
            data = _detections(kept)
            messages.append(KeptMessage(DETECTIONS, DETECTIONS, DETECTION_ARRAY, data, begin_ns))
        return messages

    @staticmethod
    def _detections_anew(kept: _Kept) -> bool:
        given = kept.frame.messages.get(DETECTIONS)
        if kept.outcome.frame is None:
            return False
        return kept.outcome.found is not None or (given is not None and not _is_ours(given))


def _is_ours(message: Any) -> bool:
    return hasattr(message, "image_width")


def _detections(kept: _Kept) -> bytes:
    """The resolver's detections as CDR of a DetectionArray with the header of the colour image."""
    from spatial_vlm_ros.recording.bags.topics import DETECTION_ARRAY, default_store
    from spatial_vlm_ros.streams.decoding import rosbags_composer

    outcome, image = kept.outcome, kept.frame.messages[RGB]
    assert outcome.frame is not None  # noqa: S101 - `_detections_anew` has just seen it
    camera, store = outcome.frame.camera, default_store()
    make = rosbags_composer(store)
    header = make.header(stamp_of(image), outcome.frame.frame_id)
    found = outcome.found[1].detections if outcome.found is not None else outcome.detections
    array = make.detection_array(found, header, camera.width, camera.height)
    return bytes(store.serialize_cdr(array, DETECTION_ARRAY))
