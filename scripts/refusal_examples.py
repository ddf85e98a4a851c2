# SPDX-License-Identifier: Apache-2.0
"""Make one message of every refusal, with the code that refuses, for docs/tutorials/refusals.md.

Each function causes one status in the simplest way: a sentence on a simulated table, a stream without messages, an
approval that nobody gives. If a robot or a planner would be needed, its messages are made up.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from spatial_vlm_ros import Resolver, ResolverConfig
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.parameters import PlanningConfig, StreamConfig, config_from, planning_from
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.sim.examples import CAMERA, chicks_and_cup, chicks_and_cup_frame
from spatial_vlm_ros.sim.tabletop import Body, Box, Cup, Sphere, World, look_at, noisy, render
from spatial_vlm_ros.types import Detection, NounPhrase, Resolution, Rgb, Status

UNUSED = ("NEEDS_APPROVAL",)
"""Statuses that no code gives; their numbers are reserved."""

FRAME, DETECTIONS = chicks_and_cup_frame()
SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
TOPICS = {"rgb/image": "/rgb/image", "depth/image": "/depth/image", "rgb/camera_info": "/rgb/camera_info"}
SAID = {
    "not_understood": "the chick behind the cup that sings",
    "frame_undefined": "the chick on my left",
    "not_executable": "wipe the table",
    "not_found": "the duck",
    "ambiguous": "the chick",
    "relation_unsatisfied": "the box behind the cup",
    "no_place": "put the box in the cup",
    "cancelled": "stop",
}
"""Status → words about the example's frame; the other statuses have a function of their name below."""


def examples() -> dict[str, str]:
    """Return status → message, in the order of the statuses.

    Raises:
        RuntimeError: an example ends in another status than its own.
    """
    made = {}
    for status in Status:
        name = status.value.lower()
        if name not in SAID and name not in globals():
            continue
        try:
            answer = _asked(SAID[name]) if name in SAID else globals()[name]()
        except SpatialVlmError as error:
            found, message = error.status_name, str(error)
        else:
            found, message = ("no refusal", "") if answer is None else (answer.status.value, _with_question(answer))
        if found != status.value:
            raise RuntimeError(f"the example of {status.value} is {found}: {message}")
        made[status.value] = message
    return made


def _with_question(answer: Resolution) -> str:
    return f"{answer.message}\n{answer.question}" if answer.question else answer.message


def _asked(words: str, detections: Sequence[Detection] = DETECTIONS, **request: Any) -> Resolution:
    return Resolver().resolve(FRAME, words, detections, **request)


def _table(words: str, *bodies: Body, config: ResolverConfig | None = None) -> Resolution:
    """Resolve words on a table with these bodies, seen from -x."""
    seen = render(World(bodies), CAMERA, look_at((-0.80, 0.0, 0.28), (0.0, 0.0, 0.05)))
    return Resolver(config).resolve(noisy(seen.frame, np.random.default_rng(0)), words, seen.detections)


def invalid_input() -> Resolution:
    """A box outside the image."""
    return _asked("the cup", [Detection("d0", "cup", 0.9, (700.0, 100.0, 760.0, 180.0))])


def depth_invalid() -> Resolution:
    """A cup without a measured pixel."""
    depth = np.array(FRAME.depth)
    for one in DETECTIONS:
        if one.id == "cup":
            depth[one.mask] = np.nan
    return Resolver().resolve(dataclasses.replace(FRAME, depth=depth), "the cup", DETECTIONS)


def frame_inconsistent() -> Resolution:
    """Depth of a camera beside the colour camera."""
    return Resolver().resolve(dataclasses.replace(FRAME, depth=np.roll(FRAME.depth, 45, axis=1)), "the cup", DETECTIONS)


def _assembler() -> Any:
    from spatial_vlm_ros.streams.frame_assembler import FrameAssembler

    return FrameAssembler(StreamConfig(base_frame="", clocks_in_step=True), with_detections=False)


def stale_input() -> None:
    """Streams without messages."""
    raise _assembler().why_none(NOW, TOPICS)


def source_changed() -> None:
    """Two cameras publish colour."""
    from spatial_vlm_ros.streams.sources import Sources

    sources = Sources(lambda topic: {b"1": "/camera", b"2": "/camera_2"} if topic == "/rgb/image" else {})
    raise sources.begin(["/rgb/image"])[0]


def not_synchronised() -> None:
    """Depth with a stamp 50 ms after colour."""
    assembler = _assembler()
    for number in range(5):
        at = NOW + number * SECOND // 10
        for role, lag in (("rgb/camera_info", 0), ("rgb/image", 0), ("depth/image", 50)):
            stamp = at + lag * 1_000_000
            header = SimpleNamespace(
                stamp=SimpleNamespace(sec=stamp // SECOND, nanosec=stamp % SECOND), frame_id=FRAME.frame_id
            )
            assembler.add(role, SimpleNamespace(header=header), stamp)
    raise assembler.why_none(NOW - SECOND, TOPICS)


def tf_unavailable() -> None:
    """A base frame that is not published."""
    from spatial_vlm_ros.streams.transforms import TransformBuffer

    TransformBuffer(10 * SECOND).lookup("base_link", FRAME.frame_id, NOW)


def occluded() -> Resolution:
    """A can that is mostly hidden by a box in front of it."""
    can = Body("can", "can", Box((0.06, 0.06, 0.1)), (0.15, 0.0, 0.0), "yellow")
    return _table("the can", can, Body("box", "box", Box((0.05, 0.09, 0.126)), (0.0, 0.01, 0.0), "green"))


def low_confidence() -> Resolution:
    """An object at the border of the cone."""
    cup = Body("cup", "cup", Cup(0.04, 0.09), (0.0, 0.0, 0.0), "blue")
    return _table("the chick behind the cup", cup, Body("chick", "chick", Sphere(0.035), (0.01, -0.09, 0.0), "yellow"))


class _PointsElsewhere:
    """A model that names another object than the measurement does."""

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        from spatial_vlm_ros.perception.imported_detections import GivenDetections

        return GivenDetections(DETECTIONS).ground(rgb, phrases)

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:  # noqa: ARG002
        (ribbon,) = (one for one in DETECTIONS if one.id == "ribbon")
        return (NamedObject("", ribbon.box_xyxy, None, None),)


def disagreement() -> Resolution:
    """A reliable second opinion that names another object."""
    from spatial_vlm_ros.spatial.second_opinion import Counts, Reliabilities

    resolver = Resolver(config_from({"second_opinion": {"ask": True}}), _PointsElsewhere())
    resolver.opinions.reliabilities = Reliabilities("", {"behind": Counts(98, 1, 1)})
    return resolver.resolve(FRAME, "the chick behind the cup")


class MyDetector:
    """A detector with a fault."""

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002
        """See Grounder.ground."""
        raise MemoryError("CUDA out of memory")


def model_error() -> Resolution:
    """A detector that fails."""
    return Resolver(grounder=MyDetector()).resolve(FRAME, "the cup")


def timeout() -> None:
    """A deadline that has passed."""
    from spatial_vlm_ros.nodes.perception.requests import ResolvingTask
    from spatial_vlm_ros.parameters import NodeConfig

    task = ResolvingTask(0.2, NodeConfig().resolve_timeout)
    task.check()
    time.sleep(0.21)
    task.check()


def _queue(replies: list[Resolution], depth: int) -> Callable[[str], None]:
    """A queue that takes instructions without a camera to answer them."""
    from spatial_vlm_ros.nodes.perception import request_queue, requests
    from spatial_vlm_ros.parameters import NodeConfig, Settings

    settings = Settings(node=NodeConfig(queue_depth=depth))
    queue = request_queue.RequestQueue(settings, _assembler(), MyDetector(), lambda: NOW, lambda _: None, TOPICS)

    def ask(words: str) -> None:
        queue.accept(requests.InstructionRequest(words, "", "", lambda end: replies.append(end.resolution), _nothing))

    return ask


def _nothing(*_: object) -> None:
    """Ignore feedback."""


def busy() -> Resolution:
    """A second request when none may wait."""
    replies: list[Resolution] = []
    ask = _queue(replies, 0)
    ask("the chick behind the cup")
    ask("the cup")
    return replies[0]


def _pick(**planning: dict[str, object]) -> None:
    """Grasps of the chick behind the cup, with some parameters."""
    from spatial_vlm_ros.manipulation.planning.pick import pick_goal
    from spatial_vlm_ros.manipulation.planning.scene import planning_scene
    from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of

    config = planning_from(planning)
    resolver = Resolver()
    scene = resolver.observe(FRAME, DETECTIONS)
    answer = resolver.answer(scene, "the chick behind the cup")
    pick_goal(planning_scene(surroundings_of(scene, answer, config=resolver.config), config), config)


def out_of_workspace() -> None:
    """An object beyond the workspace."""
    _pick(gripper={"opening_max": 0.12}, workspace={"x_max": 0.1}, goal={"support_clearance": 0.0})


def unreachable() -> None:
    """An object wider than the gripper's opening."""
    _pick(gripper={"opening_max": 0.05})


def _approval(act: Callable[[Any, Any, Any], None]) -> None:
    """Propose a motion.

    Args:
        act: called with the broker, the proposal and the clock.
    """
    import uuid

    import cv2

    from spatial_vlm_ros.manipulation.approval.audit import AuditLog
    from spatial_vlm_ros.manipulation.approval.broker import ApprovalBroker
    from spatial_vlm_ros.manipulation.approval.proposal import Phase, Preview, Proposal

    clock = SimpleNamespace(now=1000.0)
    plan, id_ = "0" * 64, str(uuid.UUID(int=1))
    image = cv2.imencode(".png", np.full((48, 64, 3), 120, np.uint8))[1].tobytes()
    preview = Preview("base_link", (Phase("reach", 2.5),), 0.05, ((0.3, 0.0, 0.5), (0.5, 0.1, 0.2)), plan_hash=plan)
    words = "the chick behind the cup"
    with (
        tempfile.TemporaryDirectory() as folder,
        AuditLog(Path(folder) / "audit.jsonl", lambda: clock.now, lambda: 1.8e9) as audit,
    ):
        proposal = Proposal(
            goal_id=id_, scene_stamp_ns=NOW, plan_hash=plan, sentence=words, answer="the chick (d1)",
            seen_from="as seen from the camera", target_id="d1", target_label="chick", expires_after=60.0,
            candidates=(), warnings=(), image=image, preview=preview, image_instruction=words, image_stamp_ns=NOW,
        )  # fmt: skip
        broker = ApprovalBroker(audit, lambda: clock.now)
        broker.propose(proposal)
        act(broker, proposal, clock)


def _decision(proposal: Any, approve: bool, reason: str = "") -> Any:
    from spatial_vlm_ros.manipulation.approval.proposal import Decision

    return Decision(proposal.goal_id, proposal.scene_stamp_ns, proposal.plan_hash, approve, "Ann", reason)


def rejected() -> None:
    """A person rejects the proposal."""

    def act(broker: Any, proposal: Any, _: Any) -> None:
        broker.decide(_decision(proposal, approve=False, reason="the wrong cup"))
        broker.begin(broker.wait(proposal.goal_id))

    _approval(act)


def approval_expired() -> None:
    """Nobody answers in time."""

    def act(broker: Any, proposal: Any, clock: Any) -> None:
        clock.now += 61.0
        broker.wait(proposal.goal_id)

    _approval(act)


def scene_changed() -> None:
    """The chick has moved between the plan and the recheck."""
    from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
    from spatial_vlm_ros.manipulation.recheck import check_same

    resolver, words = Resolver(), "the chick behind the cup"
    before = resolver.observe(FRAME, DETECTIONS)
    then = surroundings_of(before, resolver.answer(before, words), config=resolver.config)
    bodies = [dataclasses.replace(one, position=(0.22, 0.04, 0.0)) if one.id == "bonnet" else one
              for one in chicks_and_cup().bodies]  # fmt: skip
    seen = render(World(tuple(bodies)), CAMERA, look_at((-0.74, 0.0, 0.43), (0.0, 0.0, 0.03)), stamp_ns=SECOND)
    after = resolver.observe(seen.frame, seen.detections)
    answer = resolver.answer(after, words)
    check_same(then, answer, surroundings_of(after, answer, config=resolver.config), PlanningConfig().observation)


def planner_unavailable() -> None:
    """The action of move_group is not available."""
    from spatial_vlm_ros.nodes.arm.motion_client import _START_PLANNER
    from spatial_vlm_ros.nodes.calls import Server

    bridge: Any = SimpleNamespace(wait=lambda *_: None, node=None)
    Server(bridge, "/move_action", _START_PLANNER, lambda: False, ()).await_it(5.0, lambda: False)


def planning_failed() -> None:
    """MoveIt finds the arm in collision at the start."""
    from spatial_vlm_ros.nodes.arm.strategies import Refused

    refused = Refused(-10, "", "/move_action")
    refused.phase = "reach"
    error = refused.final()
    if error is not None:
        raise error


def execution_failed() -> None:
    """The fingers close on nothing."""
    from spatial_vlm_ros.manipulation.grippers import GripReport
    from spatial_vlm_ros.manipulation.planning.planner import PlanStep
    from spatial_vlm_ros.nodes.arm.motion_client import MotionClient

    fingers = SimpleNamespace(width=lambda _: 0.08)
    gripped = SimpleNamespace(accepted=True, withdrawn=False, report=GripReport(reached=True))
    client: Any = SimpleNamespace(
        config=PlanningConfig(),
        _beside=SimpleNamespace(fingers=fingers, await_fingers=lambda *_: 0.0),
        _gripper=SimpleNamespace(send=lambda *_: gripped),
        _guard=SimpleNamespace(check=None),
    )
    MotionClient._grip(client, PlanStep("close", None, 0.0, holds=0.06), lambda: False, False, 0.08)


class _Faulty(Resolver):
    """The resolver with an internal fault."""

    def scorer_of(self, *_: Any, **__: Any) -> Any:
        raise KeyError("clause")


def internal_error() -> Resolution:
    """An unexpected exception."""
    import logging

    logging.disable(logging.CRITICAL)
    try:
        return _Faulty().resolve(FRAME, "the cup", DETECTIONS)
    finally:
        logging.disable(logging.NOTSET)
