# SPDX-License-Identifier: Apache-2.0
"""The service teach of a live resolver: what is shown to the camera is found afterwards, also beside detections."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from live_graph import Graph
from live_process import Started
from spatial_vlm_interfaces.srv import Teach

from spatial_vlm_ros.perception import taught_store as store
from spatial_vlm_ros.sim.tabletop import Rendering

PLACES = {"mug": (-0.25, 0.0), "ball": (0.2, -0.05), "bottle": (0.25, 0.15)}
REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"name": "bonnet"}, "3 in view; objects stand at"),
    ({"name": "what is that"}, "a noun"),
    ({"name": "bonnet", "at": [1.0]}, "one of them at most"),
    ({"name": "bonnet", "at": [1.0, 2.0], "put_down": True}, "one of them at most"),
    ({"at": [1.0, 2.0]}, "a noun"),
    ({"name": "ball", "put_down": True}, "without a name"),
)


def table(tabletop: Any, *without: str) -> Rendering:
    bodies = {
        "mug": tabletop.cup("mug", *PLACES["mug"], colour="purple"),
        "ball": tabletop.ball("ball", *PLACES["ball"], colour="green"),
        "bottle": tabletop.can("bottle", *PLACES["bottle"], 0.03, 0.2, colour="blue"),
    }
    return tabletop.see(*(body for name, body in bodies.items() if name not in without), eye=(0.0, -0.9, 0.6))


def box(seen: Rendering, name: str) -> list[float]:
    return list(next(one.box_xyxy for one in seen.detections if one.id == name))


class Teacher:
    """A person before the camera of a resolver that is told to keep what it is taught."""

    def __init__(self, graph: Graph, folder: Path, tabletop: Any, **more: Any) -> None:
        self.graph, self.seen, self.taught = graph, table(tabletop), folder / "objects.taught"
        graph.start(decision__taught=str(self.taught), base_frame="world", frame_timeout=15.0, **more)
        graph.camera.tf(self.seen.frame.base_T_camera, static=True)
        self.client = graph.service(Teach, "teach")

    def show(self, seen: Rendering | None = None, **words: Any) -> Teach.Response:
        response = self.graph.asked(lambda: self.client.call_async(Teach.Request(**words)))
        self.graph.feed(
            response.done, "a response", (seen or self.seen).frame, (), lambda parts: parts.pop("detections")
        )
        return response.result()

    def teach(self, **words: Any) -> Teach.Response:
        reply = self.show(**words)
        assert reply.status.name == "ANSWERED", reply.status.message
        return reply

    def finds(self, words: str, name: str) -> None:
        assert self.graph.ask(words, self.seen.frame, ()).position[:2] == pytest.approx(PLACES[name], abs=0.01)


@pytest.fixture
def teacher(graph: Graph, tmp_path: Path, tabletop: Any) -> Teacher:
    return Teacher(graph, tmp_path, tabletop, grounder="none")


def test_what_is_shown_is_found_without_any_detection(teacher: Teacher, tabletop: Any) -> None:
    for words, says in REFUSED:
        refused = teacher.show(**words)
        assert (refused.status.name, says in refused.status.message) == ("INVALID_INPUT", True), refused.status.message
        assert not refused.views
    assert store.kept_objects(teacher.taught) == []
    reply = teacher.teach(name="Bonnet", box=box(teacher.seen, "mug"))
    (kept,) = store.kept_objects(teacher.taught)
    assert (kept.name, reply.status.message) == ("bonnet", str(kept))
    assert (reply.views, list(reply.alike), reply.found_by_depth) == (1, [], True)
    assert list(reply.size) == pytest.approx(kept.views[0].size[:3])
    teacher.finds("the bonnet", "mug")
    left, top, right, bottom = box(teacher.seen, "bottle")
    teacher.teach(name="flask", at=[(left + right) / 2, (top + bottom) / 2])
    teacher.finds("the flask to the right of the bonnet", "bottle")
    reply = teacher.teach(name="hat", box=box(teacher.seen, "mug"))
    assert (list(reply.alike), "looks like 'bonnet'" in reply.notes[0]) == (["bonnet"], True)
    assert teacher.show(table(tabletop, "ball")).status.name == "ANSWERED"
    teacher.teach(name="zorb", put_down=True)
    teacher.finds("the zorb", "ball")
    assert teacher.graph.change(Transition.TRANSITION_DEACTIVATE)
    assert teacher.show(name="bonnet").status.name == "CANCELLED"


def test_beside_a_topic_of_detections_the_taught_name_wins(graph: Graph, tmp_path: Path, tabletop: Any) -> None:
    teacher = Teacher(graph, tmp_path, tabletop, selection=True)
    teacher.teach(name="bonnet", box=box(teacher.seen, "mug"))
    for words in ("the bonnet left of the ball", "the cup left of the ball"):
        goal = graph.ask(words, teacher.seen.frame, teacher.seen.detections)
        assert goal.name == "OK", goal.message
        assert (goal.result.target[0].id, goal.result.target[0].label) == ("mug", "bonnet")


def test_a_person_teaches_from_the_command_line(
    teacher: Teacher, program: Callable[..., Started], tabletop: Any, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    before, after = table(tabletop, "ball"), teacher.seen
    asking = program("teach", "zorb", "--put-down", stdin=theirs)
    teacher.graph.feed(lambda: "then press Enter" in asking.output, "it asks", before.frame, ())
    os.write(ours, b"\n")
    teacher.graph.feed(lambda: asking.process.poll() is not None, "the program ends", after.frame, ())
    assert asking.ends() == 0, asking.output
    assert [one.name for one in store.kept_objects(teacher.taught)] == ["zorb"]
    asking = program("teach", "zorb")
    teacher.graph.feed(lambda: asking.process.poll() is not None, "the program ends", after.frame, ())
    assert asking.ends() == 3, asking.output
    assert "3 in view" in asking.output
