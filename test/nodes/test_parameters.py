# SPDX-License-Identifier: Apache-2.0
"""ROS parameters: what is declared, what is refused with its reason, what takes effect at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from live_domain import free_domain
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position, position
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.nodes import parameters
from spatial_vlm_ros.parameters import DecisionConfig, ResolverConfig
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.types import FrameOfReference

OURS = sorted(parameters.declared())
FIXED = sorted(parameters.FIXED)


@pytest.fixture(scope="module")
def shared() -> Iterator[Graph]:
    """One resolver for the tests that change nothing."""
    with free_domain() as number:
        graph = Graph(number)
        graph.start(base_frame="world", frame_timeout=15.0, transform_timeout=5.0)
        graph.camera.tf(FRAME.base_T_camera, static=True)
        yield graph
        graph.close()


def asked(graph: Graph, words: str = SENTENCE, **request: Any) -> Any:
    goal = graph.ask(words, FRAME, DETECTIONS, **request)
    assert goal.result is not None
    return goal.result


# ------------------------------------------------------------------------------------------------ declaration


def test_every_parameter_is_declared_with_description_and_range(live: Graph) -> None:
    listed = live.serve(ListParameters, "resolver/list_parameters").result.names
    assert set(OURS) <= set(listed)
    descriptors = live.serve(DescribeParameters, "resolver/describe_parameters", names=OURS).descriptors
    for descriptor in descriptors:
        assert len(descriptor.description) > 10, descriptor.name
        numeric = descriptor.type in (ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_INTEGER)
        assert numeric == bool(descriptor.floating_point_range or descriptor.integer_range), descriptor.name
        choices = parameters.declared()[descriptor.name][1].get("choices", ())
        assert all(choice in descriptor.additional_constraints for choice in choices), descriptor.name
        assert bool(choices) == bool(descriptor.additional_constraints), descriptor.name


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("frame_timeout", 0.05, "out of range"),
        ("frame_timeout", 61.0, "out of range"),
        ("frame_timeout", float("nan"), ""),
        ("depth__near", -1.0, "out of range"),
        ("sync_queue", 1, "out of range"),
        ("lift__erode_px", 11, "out of range"),
        ("frame_timeout", "long", "type"),
        ("frame_timeout", 3, "type"),
        ("rectified", "yes", "type"),
        ("rectified", 1, "type"),
        ("base_frame", 7, "type"),
        ("sync_queue", 15.0, "type"),
        ("frame_of_reference", "martian", "viewer"),
        ("frame_of_reference", "object", "viewer"),
        ("relation__down_ahead", "sideways", "none or up or down or left or right"),
        ("relation__down_ahead", 1, "type"),
        ("relation__second_frame", "object", "speaker or world"),
        ("relation__world_defined", "yes", "type"),
        ("relation__world_azimuth_deg", 181.0, "out of range"),
        ("mirrored", "yes", "type"),
        ("speaker_frame", 7, "type"),
        ("no_such_parameter", 1.0, ""),
        ("decision.no_such_parameter", 1.0, ""),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_a_reason(shared: Graph, name: str, value: Any, word: str) -> None:
    before = asked(shared).status.name
    accepted, reason = shared.set(**{name: value})
    assert not accepted
    assert reason
    assert word in reason.lower()
    assert asked(shared).status.name == before == "OK"


@pytest.mark.parametrize("name", FIXED)
def test_what_is_read_at_configuration_cannot_change_while_the_node_runs(shared: Graph, name: str) -> None:
    default, metadata = parameters.declared()[name]
    if isinstance(default, bool):
        other: Any = not default
    elif isinstance(default, float):
        other = metadata["low"]
    else:
        other = next((choice for choice in metadata["choices"] if choice != default), "x")
    accepted, reason = shared.set(**{name: other})
    assert not accepted
    assert name in reason
    assert "clean up the node first" in reason
    accepted, reason = shared.set(**{name: default})  # the same value is no change
    assert accepted, reason


def test_values_that_do_not_fit_together_are_refused_together(shared: Graph) -> None:
    accepted, reason = shared.set(depth__near=3.0, depth__far=2.0)
    assert not accepted
    assert "near 3.0, far 2.0" in reason
    assert not shared.set(depth__near=6.0)[0]
    assert asked(shared).status.name == "OK"


def test_one_bad_value_keeps_the_good_ones_from_being_set(shared: Graph) -> None:
    assert not shared.set(depth__near=0.5, decision__mass=7.0)[0]
    near = shared.serve(GetParameters, "resolver/get_parameters", names=["depth.near"]).values[0].double_value
    assert near == pytest.approx(0.1)


# ------------------------------------------------------------------------------------------------ effects


def test_a_number_of_the_core_takes_effect_with_the_next_goal(live: Graph) -> None:
    visible = asked(live).target[0].visible_fraction
    assert visible < 1.0
    assert live.set(decision__min_visible=min(1.0, visible + 0.02))[0]
    config = ResolverConfig(decision=DecisionConfig(min_visible=min(1.0, visible + 0.02)))
    expected = Resolver(config).resolve(FRAME, SENTENCE, DETECTIONS).status.value
    assert expected != "OK"
    assert asked(live).status.name == expected
    assert live.set(decision__min_visible=0.1)[0]
    assert asked(live).status.name == "OK"


def test_the_default_frame_of_reference_takes_effect_with_the_next_goal(live: Graph) -> None:
    assert asked(live).frame_of_reference == "viewer"
    assert live.set(frame_of_reference="robot")[0]
    assert asked(live).frame_of_reference == "robot"
    assert asked(live, frame_of_reference="viewer").frame_of_reference == "viewer"


@pytest.mark.parametrize("name", ["speaker", "world"])
def test_every_frame_but_an_objects_own_may_be_the_default(live: Graph, name: str) -> None:
    assert live.set(frame_of_reference=name)[0]
    config = ResolverConfig(frame_of_reference=FrameOfReference(name))
    words = "grab me the chick left of the cup"
    expected = Resolver(config).resolve(FRAME, words, DETECTIONS)
    assert asked(live, words).status.name == expected.status.value
    assert live.set(frame_of_reference="viewer")[0]
    assert asked(live).status.name == "OK"


def test_options_of_a_group_take_effect_with_the_next_goal(live: Graph) -> None:
    changed = {"down_ahead": "up", "second_frame": "robot", "world_defined": True, "world_azimuth_deg": 90.0}
    assert live.set(**{f"relation__{name}": value for name, value in changed.items()})[0]
    assert live.resolver is not None
    relation = live.resolver._queue._resolver.config.relation  # type: ignore[union-attr]
    assert {name: getattr(relation, name) for name in changed} == changed


def test_a_mirrored_driver_is_heard_as_such_with_the_next_goal(live: Graph) -> None:
    """Its images are turned back: what stands on the left is on the left."""
    camera = FRAME.camera
    K = camera.K.copy()
    K[0, 2] = camera.width - 1 - K[0, 2]
    rgb, depth = (np.ascontiguousarray(image[:, ::-1]) for image in (FRAME.rgb, FRAME.depth))
    published = dataclasses.replace(FRAME, rgb=rgb, depth=depth, camera=dataclasses.replace(camera, K=K))
    found = []
    for obj in DETECTIONS:
        assert obj.mask is not None
        x0, y0, x1, y1 = obj.box_xyxy
        box, mask = (camera.width - x1, y0, camera.width - x0, y1), np.ascontiguousarray(obj.mask[:, ::-1])
        found.append(dataclasses.replace(obj, box_xyxy=box, mask=mask))
    assert live.set(mirrored=True)[0]
    goal = live.ask(SENTENCE, published, found)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert position(goal.result.target[0]) == pytest.approx(core_position(), abs=1e-6)


def test_the_base_frame_takes_effect_with_the_next_goal(live: Graph) -> None:
    assert asked(live).header.frame_id == "world"
    assert live.set(base_frame="")[0]
    assert asked(live).header.frame_id == FRAME.frame_id
    assert live.set(base_frame="world")[0]
    result = asked(live)  # the static transform is still known
    assert result.header.frame_id == "world"
    assert position(result.target[0]) == pytest.approx(core_position(), abs=1e-6)


def test_a_change_while_a_goal_waits_holds_for_its_frame(live: Graph) -> None:
    goal = live.send_goal(SENTENCE)
    assert live.set(base_frame="", sync_slop=0.05)[0]
    live.feed(lambda: goal.result is not None, "it is answered", FRAME, DETECTIONS)
    assert goal.result is not None
    assert (goal.name, goal.result.header.frame_id) == ("OK", FRAME.frame_id)


def test_a_shorter_patience_takes_effect_with_a_goal_that_waits(live: Graph) -> None:
    goal = live.send_goal(SENTENCE)
    assert live.set(frame_timeout=0.2)[0]
    live.assert_refused(goal, "STALE_INPUT")


def test_depth_that_is_no_longer_registered_is_listened_to_with_its_info(live: Graph) -> None:
    assert asked(live).status.name == "OK"
    assert live.set(depth_registered=False)[0]

    def own(parts: dict[str, Any]) -> None:
        header = live.camera.composer.header(stamp_of(parts[roles.RGB]), FRAME.frame_id)
        parts[roles.DEPTH_INFO] = live.camera.composer.camera_info(FRAME.camera, header)

    goal = live.ask(SENTENCE, FRAME, DETECTIONS, own)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert position(goal.result.target[0]) == pytest.approx(core_position(), abs=0.01)


def test_a_fixed_parameter_changes_after_a_clean_up(live: Graph) -> None:
    assert live.change(Transition.TRANSITION_DEACTIVATE)
    assert not live.set(rgb_transport="compressed")[0]
    assert live.change(Transition.TRANSITION_CLEANUP)
    assert live.set(rgb_transport="compressed")[0]
    assert live.change(Transition.TRANSITION_CONFIGURE)
    assert live.change(Transition.TRANSITION_ACTIVATE)
    name = live.node.resolve_topic_name("rgb/image/compressed")
    live.until(lambda: live.node.count_subscribers(name), "it subscribes to the compressed topic")


@pytest.mark.parametrize(
    "bad",
    [{"depth__near": 6.0}, {"rgb_transport": "carrier pigeon"}, {"frame_timeout": 0.0}, {"frame_timeout": "long"}],
)
def test_a_node_with_values_that_cannot_be_is_not_made(graph: Graph, bad: dict[str, Any]) -> None:
    from spatial_vlm_ros.errors import InputError

    with pytest.raises((InputError, rclpy.exceptions.ParameterException)):
        graph.start(wait=False, **bad)
