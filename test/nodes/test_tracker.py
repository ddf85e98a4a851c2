# SPDX-License-Identifier: Apache-2.0
"""The tracker as a node: all objects at camera rate, the answer's target while it is known, and what is said else."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from live_graph import Graph
from live_process import Started
from live_scene import SENTENCE
from vision_msgs.msg import Detection3DArray

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.sim.examples import CAMERA, chicks_and_cup
from spatial_vlm_ros.sim.tabletop import World, look_at, noisy, render
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, stamp_of

VIEW, DETECTED = look_at((-0.74, 0.0, 0.43), (0.0, 0.0, 0.03)), 5


class Watched:
    """What a tracker publishes while a camera shows a world."""

    def __init__(self, graph: Graph, tracker: Started) -> None:
        self.graph, self.count, self.world = graph, 0, chicks_and_cup()
        self.tracks: list[Detection3DArray] = []
        self.targets: list[PoseWithCovarianceStamped] = []
        self.told: list[DiagnosticArray] = []
        own = lambda message: self.told.append(message) if "tracker" in message.status[0].name else None  # noqa: E731
        profile = qos.images("reliable")
        for form, topic, take in (
            (Detection3DArray, "tracks", self.tracks.append),
            (PoseWithCovarianceStamped, "tracked_target", self.targets.append),
            (DiagnosticArray, "/diagnostics", own),
        ):
            graph.node.create_subscription(form, topic, take, profile)
        tracker.says("tracker is ready")
        graph.until(lambda: graph.node.count_publishers("tracks"), "it publishes")

    def without(self, *names: str) -> World:
        return dataclasses.replace(self.world, bodies=tuple(b for b in self.world.bodies if b.id not in names))

    def show(self, condition: Callable[[], Any], what: str, world: World | None = None) -> None:
        """Show a world, the own one by default; each `DETECTED`th image has detections."""

        def late(parts: dict[str, Any]) -> None:
            self.count += 1
            if self.count % DETECTED:
                del parts[DETECTIONS]

        seen = render(world or self.world, CAMERA, VIEW)
        frame = noisy(seen.frame, np.random.default_rng(self.count))
        self.graph.feed(condition, what, frame, seen.detections, late, period=0.1)

    @property
    def ids(self) -> dict[str, str]:
        """Label of each object that is followed now, by id."""
        return {one.id: one.results[0].hypothesis.class_id for one in self.tracks[-1].detections} if self.tracks else {}


@pytest.fixture
def watched(live: Graph, node: Callable[..., Started]) -> Watched:
    made = Watched(live, node("tracker", base_frame="world"))
    live.camera.tf(dataclasses.replace(VIEW, parent="world"), static=True)
    made.show(lambda: len(made.ids) == 4, "four objects are followed")
    return made


def test_objects_have_ids_and_the_answers_target_is_followed_where_it_goes_until_it_is_gone(watched: Watched) -> None:
    live, ids = watched.graph, watched.ids
    assert sorted(ids.values()) == ["box", "chick", "chick", "cup"]
    live.use(base_frame="world")
    goal = live.send_goal(SENTENCE)
    watched.show(lambda: goal.result is not None, "it is answered")
    assert goal.name == "OK", goal.message
    watched.show(lambda: watched.targets, "the target is followed")
    answered = goal.result.target[0].pose.pose.position
    for step in range(1, 5):  # 4 cm to the side
        body = watched.world["bonnet"]
        away = dataclasses.replace(body, position=(body.position[0], body.position[1] - 0.01, body.position[2]))
        watched.world = World((away, *watched.without("bonnet").bodies))
        del watched.targets[:]
        watched.show(
            lambda s=step: (
                watched.targets and abs(watched.targets[-1].pose.pose.position.y - (answered.y - 0.01 * s)) < 0.01
            ),
            f"the target is where the chick is after {step} cm",
        )
    assert watched.targets[-1].header.frame_id == "world"
    assert watched.ids == ids
    watched.show(lambda: len(watched.ids) == 3, "a taken object is no track any more", watched.without("bonnet"))
    last = stamp_of(watched.tracks[-1])
    assert all(stamp_of(target) < last for target in watched.targets)
    watched.show(lambda: any("lost" in told.status[0].message for told in watched.told), "it is said",
                 watched.without("bonnet"))  # fmt: skip


def test_each_image_has_its_tracks_and_silence_is_said(watched: Watched) -> None:
    stamps = [stamp_of(told) for told in watched.tracks]
    assert len(set(stamps)) == len(stamps)
    assert stamps == sorted(stamps)
    del watched.told[:]
    watched.graph.until(lambda: any("no frame comes" in told.status[0].message for told in watched.told), "it is said")


def test_its_own_grounder_finds_what_it_is_told_to_look_for(quiet: Graph, node: Callable[..., Started]) -> None:
    node("frame_player", world="behind", detections=False).says("playing behind")
    tracker = node(
        "tracker", base_frame="base_link", names="cup, chick", grounder="simulator", grounder_options="world=behind"
    )
    tracks: list[Detection3DArray] = []
    quiet.node.create_subscription(Detection3DArray, "tracks", tracks.append, qos.images("reliable"))
    tracker.says("tracker is ready")
    named = lambda: {one.results[0].hypothesis.class_id for one in tracks[-1].detections} if tracks else set()  # noqa: E731
    quiet.until(lambda: {"cup", "chick"} <= named(), "cup and chicks are followed")
