# SPDX-License-Identifier: Apache-2.0
"""The live tracker: camera topics and detections in; all objects, and the last answer's target, at camera rate out."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseWithCovariance, PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from spatial_vlm_interfaces.msg import Resolution as ResolutionMessage
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import BoundingBox3D, Detection3D, Detection3DArray, ObjectHypothesis, ObjectHypothesisWithPose

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from spatial_vlm_ros.nodes import messages, parameters, qos
from spatial_vlm_ros.nodes.goals import Jobs
from spatial_vlm_ros.nodes.perception.inputs import form_of, hears_detections, topics_of
from spatial_vlm_ros.parameters import TrackerConfig
from spatial_vlm_ros.perception import parse_options
from spatial_vlm_ros.perception.domain import check_domain
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import found_of
from spatial_vlm_ros.streams.frame_assembler import FrameAssembler, PendingFrame
from spatial_vlm_ros.tracking.follower import Placement, SceneFollower
from spatial_vlm_ros.tracking.tracker import Track, TrackState
from spatial_vlm_ros.types import Detection, NounPhrase, Pose, RgbdFrame

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.worker import WorkerGrounder

ANSWERS, TARGET = "resolution", "target"
MOST_WAITING, MOST_KEPT = 3, 30  # frames that wait to be followed; detections and answers; older ones are dropped
DIAGNOSTICS_PERIOD = 1.0  # s
SAID_AGAIN = 5.0  # s between two reports of the same kind
_JOIN = 5.0  # s for the thread to end


Found = Callable[..., tuple[Detection, ...]]
"""Detections of an image, for its `camera`."""


class TrackerNode(Node):
    """Node `tracker`: docs/tracking.md describes it, and launcher/interfaces.toml has its interfaces."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("tracker", **kwargs)
        parameters.declare(self)  # the resolver's file serves both
        self._config = parameters.configured(self, TrackerConfig())
        self._settings = settings = parameters.read(self)
        parameters.keep(self, settings.resolver, settings.streams, settings.node, only_fixed=False)
        self._put = Jobs(self, failed=self._unexpected).put
        self._waiting: deque[PendingFrame] = deque(maxlen=MOST_WAITING)
        self._found: deque[tuple[int, Found]] = deque(maxlen=MOST_KEPT)
        self._targets: deque[PoseWithCovarianceStamped] = deque(maxlen=MOST_KEPT)
        self._labels: dict[int, str] = {}  # of the last answer's target, by its stamp
        self._came, self._pause, self._ended = threading.Event(), threading.Event(), False
        self._counts: Counter[str] = Counter()
        self._grounder: WorkerGrounder | None = None
        self._phrases: tuple[NounPhrase, ...] = ()  # what the grounder looks for, in the newest frame
        self._newest: RgbdFrame | None = None
        self._threads = [threading.Thread(target=self._work, name="follow", daemon=True)]

    def start(self) -> None:
        """Subscribe, and begin to follow."""
        settings, robot = self._settings, None
        if settings.streams.robot_description:
            from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
            from spatial_vlm_ros.nodes.client_node import heard_description

            robot = robot_of(settings.streams, settings.resolver.depth, partial(heard_description, self))
        if not hears_detections(settings):
            from spatial_vlm_ros.perception.worker import WorkerGrounder

            limits = settings.node.grounder_timeout, settings.node.grounder_start_timeout
            self._grounder = WorkerGrounder(
                settings.node.grounder, parse_options(settings.node.grounder_options), *limits
            )
            self._grounder.start()
            check_domain(self._grounder, settings.resolver.domain_gate)
            self._look_for(f"the {name.strip()}" for name in self._config.names.split(",") if name.strip())
            self._threads.append(threading.Thread(target=self._detect, name="detect", daemon=True))
        self._follower = SceneFollower(settings.resolver.depth, settings.resolver.lift, self._config.kept)
        self._assembler = FrameAssembler(settings.streams, with_detections=False, robot=robot)
        self._tracks = self.create_publisher(Detection3DArray, "tracks", qos.images("reliable"))
        self._tracked = self.create_publisher(PoseWithCovarianceStamped, "tracked_target", qos.images("reliable"))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.ANSWERS)
        for role, topic in topics_of(settings).items():
            profile = qos.images(settings.node.reliability)
            self.create_subscription(form_of(role, settings), topic, partial(self._on_message, role), profile)
        for role, profile in ((roles.TRANSFORMS, qos.TRANSFORMS), (roles.STATIC_TRANSFORMS, qos.STATIC_TRANSFORMS)):
            self.create_subscription(TFMessage, role, partial(self._on_message, role), profile)
        for form, role in ((ResolutionMessage, ANSWERS), (PoseWithCovarianceStamped, TARGET)):
            self.create_subscription(form, role, partial(self._on_message, role), qos.ANSWERS)
        self.create_timer(DIAGNOSTICS_PERIOD, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        for thread in self._threads:
            thread.start()
        self.get_logger().info(
            printable(f"tracker is ready; waiting for {', '.join(sorted(topics_of(settings).values()))}")
        )

    def stop(self) -> None:
        """End the threads."""
        self._ended = True
        self._came.set()
        self._pause.set()
        if self._grounder is not None:
            self._grounder.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_JOIN)

    # -------------------------------------------------------------------------------------------- messages in

    def _on_message(self, role: str, message: Any) -> None:
        now_ns = self.get_clock().now().nanoseconds
        try:
            if role == roles.DETECTIONS:
                self._found.append((roles.stamp_of(message), partial(found_of, message, config=self._settings.streams)))
            elif role == TARGET:
                self._targets.append(message)
            elif role == ANSWERS:
                if message.target:
                    self._labels = {roles.stamp_of(message): message.target[0].label}
                    self._look_for([message.instruction])
            else:
                self._assembler.add(role, message, now_ns)
                while (pending := self._assembler.take(0, now_ns)) is not None:
                    self._counts["frames dropped"] += len(self._waiting) == MOST_WAITING
                    self._waiting.append(pending)
        except SpatialVlmError as error:
            self._say(f"a frame cannot be followed: {error}")
        self._came.set()

    # -------------------------------------------------------------------------------------------- the thread

    def _work(self) -> None:
        while not self._ended:
            self._came.wait()
            self._came.clear()
            try:
                while self._waiting and not self._ended:
                    begun = time.perf_counter()
                    frame, _ = self._waiting.popleft().decode()
                    self._follower.see(frame)
                    self._newest = frame
                    self._counts["frames followed"] += 1
                    self._counts["µs"] += int((time.perf_counter() - begun) * 1e6)
                    target, ended = self._follower.aimed()
                    if ended:
                        self._put(partial(self.get_logger().warning, printable(f"tracked_target ends: {ended}")))
                    self._put(partial(self._publish, frame, self._follower.tracks, target))
                self._take_found()
                self._take_targets()
            except SpatialVlmError as error:
                self._put(partial(self._say, f"not followed: {error}"))
            except Exception:  # costs one image, not the node
                self._unexpected()

    def _take_found(self) -> None:
        period_ns = int(self._config.detection_period * roles.SECOND)
        for _ in range(len(self._found)):
            stamp_ns, found = self._found.popleft()
            if stamp_ns > self._follower.newest_ns:  # it overtook its image
                self._found.append((stamp_ns, found))
                continue
            if self._follower.taken_ns < stamp_ns < self._follower.taken_ns + period_ns:
                continue
            kept = self._follower.frame(stamp_ns)
            if kept is None:
                self._counts["detections without image"] += 1
                continue
            self._counts["detected images"] += self._follower.found(stamp_ns, found(camera=kept.camera))

    def _take_targets(self) -> None:
        """Which track the last target is: from now on `tracked_target`."""
        while self._targets and roles.stamp_of(self._targets[0]) <= self._follower.newest_ns:
            target = self._targets.popleft()
            stamp_ns, base = roles.stamp_of(target), self._settings.streams.base_frame
            frame_id = base or self._assembler.camera_frame
            if target.header.frame_id != frame_id:
                raise InputError("frame of target", target.header.frame_id, frame_id, "give both nodes one base_frame")
            point, turn = target.pose.pose.position, target.pose.pose.orientation
            aimed = self._follower.aim(
                stamp_ns, self._labels.get(stamp_ns, ""), np.array((point.x, point.y, point.z)),
                matrix_from_quaternion_xyzw((turn.x, turn.y, turn.z, turn.w)),
                np.array(target.pose.covariance).reshape(6, 6),
            )  # fmt: skip
            words = aimed.track if aimed is not None else "none of the tracks, could be two, or its image is not kept"
            self._put(partial(self.get_logger().info, printable(f"the target is {words}")))

    # -------------------------------------------------------------------------------------------- own detections

    def _look_for(self, instructions: Iterable[str]) -> None:
        """Let the grounder look for what some words name, too."""
        if self._grounder is None:
            return
        from spatial_vlm_ros.resolver import phrases_of, understood

        for words in instructions:
            with contextlib.suppress(SpatialVlmError):  # an answer's words may need its dialogue
                named = dict.fromkeys((*phrases_of(understood(words)), *self._phrases))  # the newest first
                self._phrases = tuple(named)[:MOST_KEPT]

    def _detect(self) -> None:
        """Detect in the newest image, again and again, until the node ends."""
        while not self._ended:
            begun, frame = time.monotonic(), self._newest
            if frame is not None and self._phrases and self._grounder is not None:
                try:
                    found = self._grounder.ground(frame.rgb, self._phrases).detections
                    self._found.append((frame.stamp_ns, lambda camera, found=found: found))  # noqa: ARG005
                    self._came.set()
                except SpatialVlmError as error:
                    if not self._ended:
                        self._put(partial(self._say, f"no detections: {error}"))
            self._pause.wait(max(0.02, begun + self._config.detection_period - time.monotonic()))

    # -------------------------------------------------------------------------------------------- messages out

    def _publish(self, frame: RgbdFrame, tracks: Sequence[Track], target: Placement | None) -> None:
        base = frame.base_T_camera
        frame_id = frame.frame_id if base is None else base.parent
        header = Header(stamp=messages.time_of(frame.stamp_ns), frame_id=frame_id)
        self._tracks.publish(tracks_message(header, tracks))
        if target is not None:
            self._tracked.publish(PoseWithCovarianceStamped(header=header, pose=_pose_message(*target)))

    def _report(self) -> None:
        counts, self._counts = self._counts, Counter()
        tracks = self._follower.tracks
        doubted = {one.id: one for one in tracks if one.state in (TrackState.DOUBTED, TrackState.LOST)}
        level, words = DiagnosticStatus.OK, f"{len(tracks)} objects are followed"
        if not counts["frames followed"]:
            level, words = DiagnosticStatus.ERROR, f"no frame comes: {self._assembler.why_none(0)}"
        elif counts["frames dropped"]:
            level, words = DiagnosticStatus.WARN, "overloaded: frames are dropped"
        elif doubted:
            level, words = DiagnosticStatus.WARN, f"in doubt or lost: {', '.join(doubted)}"
        micros = counts.pop("µs", 0)
        spent = micros / 1e3 / max(1, counts["frames followed"])
        values = {**counts, "time per frame [ms]": f"{spent:.1f}"}
        values |= {f"{one.id} {one.label}": " ".join((one.state.value, *one.candidates)) for one in tracks}
        own = self.get_fully_qualified_name().lstrip("/")
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        status = DiagnosticStatus(
            level=level, name=f"{own}: tracks", message=words, hardware_id="spatial_vlm_ros", values=pairs
        )
        report = DiagnosticArray(status=[status])
        report.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(report)

    def _say(self, words: str) -> None:
        self.get_logger().error(printable(words, keep="\n"), throttle_duration_sec=SAID_AGAIN)

    def _unexpected(self) -> None:
        words = f"unexpected exception:\n{traceback.format_exc()}"
        self._put(partial(self._say, words))


def _pose_message(position: Any, rotation: Any, covariance: Any) -> PoseWithCovariance:
    pose = Pose("", tuple(position.tolist()), quaternion_xyzw_from_matrix(rotation))
    return PoseWithCovariance(pose=messages.pose_message(pose), covariance=covariance.ravel().tolist())


def tracks_message(header: Header, tracks: Sequence[Track]) -> Detection3DArray:
    """All objects that are not lost: box, label, and pose with covariance of each place where it may be.

    The results are alternatives: one of an object that is itself, as many as it could be objects of one in doubt, with
    equal scores.
    """
    placed = {track.id: track for track in tracks}
    told = Detection3DArray(header=header)
    for track in tracks:
        if track.state is TrackState.LOST:
            continue
        alternatives = [track, *(placed[name] for name in track.candidates if name in placed)]
        results = [
            ObjectHypothesisWithPose(
                hypothesis=ObjectHypothesis(class_id=track.label, score=1.0 / len(alternatives)),
                pose=_pose_message(one.position, one.rotation, one.covariance),
            )
            for one in alternatives
        ]
        box = BoundingBox3D(center=results[0].pose.pose, size=messages.vector_message(tuple(track.size.tolist())))
        told.detections.append(Detection3D(header=header, results=results, bbox=box, id=track.id))
    return told
