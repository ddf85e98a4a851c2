# SPDX-License-Identifier: Apache-2.0
"""The service select_detection: one of a detector's own vision_msgs by a sentence, with live depth, or a refusal."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from live_domain import free_domain
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, position
from spatial_vlm_interfaces.srv import SelectDetection
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.perception.requests import RequestOutcome
from spatial_vlm_ros.nodes.perception.selection import among, response
from spatial_vlm_ros.types import Detection, Status


def detections_2d(found: Sequence[Detection], header: Any, with_ids: bool = True) -> Detection2DArray:
    """Boxes, labels and scores; vision_msgs has no masks."""
    message = messages.composer().detection_2d_array(found, header)
    for entry in message.detections:
        entry.id = entry.id if with_ids else ""
    return message


class Caller:
    """Calls select_detection as a stack with a detector of its own would."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.client = graph.service(SelectDetection, "select_detection")

    def image(self) -> int:
        """Send one image with its depth until the resolver has it; best effort may lose one. Its stamp."""
        stamp_ns = self.graph.camera.now()
        self.send_until(lambda: self.is_kept(stamp_ns), "the picture is kept", stamp_ns)
        return stamp_ns

    def is_kept(self, stamp_ns: int) -> bool:
        return any(match.stamp_ns == stamp_ns for match in tuple(self.graph.desk.frames.recent._matched))

    def send_until(self, condition: Callable[[], bool], what: str, stamp_ns: int) -> None:
        """Send an image of this stamp, without detections, again and again."""
        parts = self.graph.camera.parts(FRAME, (), stamp_ns)
        del parts["detections"]

        def change(made: dict[str, Any]) -> None:
            made.clear()
            made.update(parts)

        self.graph.feed(condition, what, change=change)

    def header(self, stamp_ns: int) -> Any:
        return self.graph.camera.composer.header(stamp_ns, FRAME.frame_id)

    def begin(self, instruction: str, detections: Detection2DArray, **words: Any) -> Any:
        request = SelectDetection.Request(instruction=instruction, detections=detections, **words)
        return self.graph.asked(lambda: self.client.call_async(request))

    def ask(self, instruction: str, detections: Detection2DArray, **words: Any) -> SelectDetection.Response:
        response = self.begin(instruction, detections, **words)
        self.graph.until(response.done, "there is a response")
        return response.result()

    def ask_on_image(self, instruction: str, **words: Any) -> SelectDetection.Response:
        """Send an image, then what was found in it."""
        return self.ask(instruction, detections_2d(BOXES, self.header(self.image())), **words)


BOXES = tuple(replace(d, mask=None, attributes=()) for d in DETECTIONS)  # all that vision_msgs can say of them


@pytest.fixture(scope="module")
def selecting() -> Iterator[Graph]:
    with free_domain() as domain:
        graph = Graph(domain)
        graph.start(base_frame="world", selection=True, frame_timeout=15.0, transform_timeout=5.0)
        graph.camera.tf(FRAME.base_T_camera, static=True)
        yield graph
        graph.close()


@pytest.fixture
def caller(selecting: Graph) -> Iterator[Caller]:
    """A stack with its own detector beside it; nothing is on the detections topic."""
    yield Caller(selecting)
    selecting.settle()


def assert_refused(reply: SelectDetection.Response, status: str, *words: str) -> None:
    message = reply.resolution.status.message
    assert reply.resolution.status.name == status, message
    assert not any((reply.index, reply.indices, reply.id, reply.resolution.target, reply.resolution.targets))
    assert [word for word in words if word not in message] == [], message


def test_the_chosen_detection_is_named_by_its_place_and_id_and_has_the_pose_of_the_core(caller: Caller) -> None:
    reply = caller.ask_on_image(SENTENCE)
    assert reply.resolution.status.name == "OK", reply.resolution.status.message
    assert [BOXES[i].id for i in reply.index] == ["bonnet"]
    assert reply.id == "bonnet"
    assert not reply.indices
    expected = Resolver().resolve(FRAME, SENTENCE, BOXES).target
    assert position(reply.resolution.target[0]) == pytest.approx(expected.pose.position, abs=1e-6)
    assert reply.resolution.header.frame_id == "world"
    graph = caller.graph
    graph.until(lambda: graph.answers and graph.targets and graph.markers, "the answer is published as every answer")
    assert graph.answers[-1] == reply.resolution
    assert graph.targets[-1].pose == reply.resolution.target[0].pose


def test_other_instructions_are_answered_on_the_same_detections(caller: Caller) -> None:
    reply = caller.ask_on_image(SENTENCE, others=["the left chick", "the gnu"])
    left = Resolver().resolve(FRAME, "the left chick", BOXES).target
    assert (reply.id, [one.status.name for one in reply.others]) == ("bonnet", ["OK", "NOT_FOUND"])
    assert reply.others[0].target[0].id == left.id


def test_a_question_is_answered_on_the_same_detections_while_their_image_is_kept(caller: Caller) -> None:
    header = caller.header(caller.image())
    found = detections_2d(BOXES, header)
    asked = caller.ask("grab me the chick", found)
    assert_refused(asked, "AMBIGUOUS")
    assert asked.resolution.question
    assert {candidate.id for candidate in asked.resolution.candidates} >= {"bonnet", "ribbon"}
    reply = caller.ask("the left one", found, dialogue_id=asked.resolution.dialogue_id)
    assert reply.resolution.status.name == "OK", reply.resolution.status.message
    left = Resolver().resolve(FRAME, "the left chick", BOXES).target
    assert reply.id == left.id


@pytest.mark.parametrize("with_ids", [True, False])
def test_objects_that_are_meant_are_named_by_their_places_and_ids(with_ids: bool) -> None:
    """Without an id of its own a detection is called by its place."""
    found = detections_2d(BOXES, Header(), with_ids)
    boxes = BOXES if with_ids else tuple(replace(box, id=f"d{n}") for n, box in enumerate(BOXES))
    asked = SelectDetection.Request(detections=found)
    reply = response(asked, RequestOutcome(Resolver().resolve(FRAME, "both chicks", boxes)))
    assert {BOXES[i].id for i in reply.indices} == {"bonnet", "ribbon"}
    assert list(reply.index) == list(reply.indices[:1])
    assert reply.id == (BOXES[reply.index[0]].id if with_ids else "")
    assert [target.id for target in reply.resolution.targets] == [boxes[i].id for i in reply.indices]


def test_what_a_model_points_at_beside_the_detections_is_not_found() -> None:
    found = detections_2d(BOXES, Header(frame_id="camera"))
    answer = Resolver().resolve(FRAME, SENTENCE, BOXES)
    assert among(answer, found) is answer
    beside = replace(answer, target=replace(answer.target, id="pointed-at"), source="model")
    refused = among(beside, found)
    assert (refused.status, refused.target, refused.source) == (Status.NOT_FOUND, None, "model")


def test_detections_whose_image_has_not_arrived_wait_for_it(caller: Caller) -> None:
    graph, stamp_ns = caller.graph, caller.graph.camera.now()
    pending = caller.begin(SENTENCE, detections_2d(BOXES, caller.header(stamp_ns)))
    graph.until(lambda: graph.desk.busy, "the request waits")
    caller.send_until(pending.done, "it is answered", stamp_ns)
    assert pending.result().id == "bonnet"


def test_one_request_at_a_time(caller: Caller) -> None:
    graph = caller.graph
    graph.use(queue_depth=0)
    waiting = caller.begin(SENTENCE, detections_2d(BOXES, caller.header(graph.camera.now())))
    graph.until(lambda: graph.desk.busy, "the request waits")
    second = caller.ask("the cup", detections_2d(BOXES, caller.header(graph.camera.now())))
    assert_refused(second, "BUSY", SENTENCE)
    graph.assert_refused(graph.send_goal("the cup"), "BUSY")
    assert graph.change(Transition.TRANSITION_DEACTIVATE)
    graph.until(waiting.done, "it is refused")
    assert_refused(waiting.result(), "CANCELLED", "deactivated")
    assert_refused(caller.ask("the cup", detections_2d(BOXES, caller.header(1))), "CANCELLED", "not active")
    for name in ("CLEANUP", "CONFIGURE", "ACTIVATE"):
        assert graph.change(getattr(Transition, f"TRANSITION_{name}"))
    again = Caller(graph)
    assert again.ask_on_image(SENTENCE).id == "bonnet"


def test_the_action_goes_on_with_the_detections_topic_which_is_missed_only_once_it_was_used(caller: Caller) -> None:
    graph = caller.graph
    graph.reconfigure()

    def streams() -> str:
        return str(graph.resolver._health.report(True).status[0].message)

    caller = Caller(graph)
    graph.use(sync_slop=0.05)  # a changed stream parameter keeps the service
    assert caller.ask_on_image(SENTENCE).id == "bonnet"
    assert "detections" not in streams()
    graph.answer()  # now somebody uses it
    graph.until(lambda: "detections is silent" in streams(), "its silence is told")
    assert caller.ask_on_image(SENTENCE).id == "bonnet"
