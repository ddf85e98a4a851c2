# SPDX-License-Identifier: Apache-2.0
"""ROS parameters: what is declared, what is refused with its reason, what takes effect at once."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_answer, core_position, position
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters
from tables import rows

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.geometry.depth import register_depth
from spatial_vlm_ros.nodes import parameters
from spatial_vlm_ros.parameters import DecisionConfig, ResolverConfig
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.types import FrameOfReference, PinholeCamera, Transform

OURS = sorted(parameters.declared())


def test_every_parameter_is_declared_with_description_and_range(live: Graph) -> None:
    listed = live.serve(ListParameters, "resolver/list_parameters").result.names
    assert set(OURS) <= set(listed)
    descriptors = live.serve(DescribeParameters, "resolver/describe_parameters", names=OURS).descriptors
    assert len(descriptors) == len(OURS)
    for descriptor in descriptors:
        assert len(descriptor.description) > 10, descriptor.name
        numeric = descriptor.type in (ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_INTEGER)
        assert numeric == bool(descriptor.floating_point_range or descriptor.integer_range), descriptor.name
        choices = parameters.declared()[descriptor.name][1].get("choices", ())
        assert all(choice in descriptor.additional_constraints for choice in choices), descriptor.name
        assert bool(choices) == bool(descriptor.additional_constraints), descriptor.name


def test_values_that_cannot_be_are_refused_with_a_reason_and_change_nothing(live: Graph) -> None:
    before = [parameter.value for parameter in live.resolver.get_parameters(OURS)]
    for given, word in rows(__file__, "parameters_refused"):
        accepted, reason = live.set(**given)
        assert (accepted, word in reason.lower()) == (False, True), (given, reason)
    assert [parameter.value for parameter in live.resolver.get_parameters(OURS)] == before
    near = live.serve(GetParameters, "resolver/get_parameters", names=["depth.near"]).values[0].double_value
    assert near == pytest.approx(0.1)
    live.answer()


def test_what_is_read_at_configuration_changes_only_after_a_clean_up(live: Graph) -> None:
    for name in parameters.FIXED:
        default, metadata = parameters.declared()[name]
        if isinstance(default, bool):
            other: Any = not default
        elif isinstance(default, float):
            other = metadata["low"]
        else:
            other = next((choice for choice in metadata["choices"] if choice != default), "x")
        accepted, reason = live.set(**{name: other})
        assert not accepted
        assert name in reason
        assert "clean up the node first" in reason
        assert live.set(**{name: default})[0], "the same value is no change"
    assert live.change(Transition.TRANSITION_DEACTIVATE)
    assert not live.set(rgb_transport="compressed")[0]
    for transport, topic in (("compressed", "rgb/image/compressed"), ("raw", "rgb/image")):
        assert live.change(Transition.TRANSITION_CLEANUP)
        live.use(rgb_transport=transport)
        assert live.change(Transition.TRANSITION_CONFIGURE)
        assert live.change(Transition.TRANSITION_ACTIVATE)
        name = live.node.resolve_topic_name(topic)
        live.until(lambda name=name: live.node.count_subscribers(name), f"it subscribes to {name}")
        assert live.change(Transition.TRANSITION_DEACTIVATE)


def test_options_of_the_core_take_effect_with_the_next_goal(live: Graph) -> None:
    visible = live.answer().target[0].visible_fraction
    assert visible < 1.0
    demanding = min(1.0, visible + 0.02)
    live.use(decision__min_visible=demanding)
    config = ResolverConfig(decision=DecisionConfig(min_visible=demanding))
    expected = Resolver(config).resolve(FRAME, SENTENCE, DETECTIONS).status.value
    assert expected != "OK"
    assert live.ask().name == expected
    changed = {"down_ahead": "up", "second_frame": "robot", "world_defined": True, "world_azimuth_deg": 90.0}
    live.use(decision__min_visible=0.1, **{f"relation__{name}": value for name, value in changed.items()})
    relation = live.desk._resolver.config.relation
    assert {name: getattr(relation, name) for name in changed} == changed
    live.answer()


def test_the_default_frame_of_reference_takes_effect_and_the_request_may_name_another(live: Graph) -> None:
    words = "grab me the chick left of the cup"
    assert live.answer().frame_of_reference == "viewer"
    for name in ("robot", "speaker", "world"):
        live.use(frame_of_reference=name)
        config = ResolverConfig(frame_of_reference=FrameOfReference(name))
        expected = Resolver(config).resolve(FRAME, words, DETECTIONS)
        goal = live.ask(words)
        assert goal.name == expected.status.value
        assert goal.result.frame_of_reference == ("robot" if name == "robot" else goal.result.frame_of_reference)
    assert live.ask(words, frame_of_reference="viewer").result.frame_of_reference == "viewer"


def test_rectified_topics_follow_p(live: Graph) -> None:
    def rectified(parts: dict[str, Any]) -> None:
        info = parts[roles.RGB_INFO]
        info.k = [k * 0.9 if k > 1 else k for k in info.k]  # of the raw image: another one
        info.d = [0.2, -0.1, 0.0, 0.0, 0.0]

    live.use(rectified=True)
    assert live.ask(change=rectified).position == pytest.approx(core_position(), abs=1e-6)


def test_the_base_frame_takes_effect_for_a_goal_that_waits_too(live: Graph) -> None:
    goal = live.send_goal(SENTENCE)
    live.use(base_frame="", sync_slop=0.05)
    live.feed(lambda: goal.result is not None, "it is answered")
    assert (goal.name, goal.result.header.frame_id) == ("OK", FRAME.frame_id)
    assert goal.result.target[0].pose.pose.position.z > 0.5  # metres before the camera
    live.use(base_frame="world")
    result = live.answer()  # the static transform is still known
    assert result.header.frame_id == "world"
    assert position(result.target[0]) == pytest.approx(core_position(), abs=1e-6)


def test_a_shorter_patience_takes_effect_with_a_goal_that_waits(live: Graph) -> None:
    goal = live.send_goal(SENTENCE)
    live.use(frame_timeout=0.2)
    live.assert_refused(goal, "STALE_INPUT")


def test_depth_that_is_not_registered_is_listened_to_with_its_info_and_its_place(live: Graph) -> None:
    """A second camera 2 cm to the right of colour's, which is told where it is only in the end."""
    live.use(depth_registered=False, transform_timeout=0.2, frame_timeout=1.0)
    camera = PinholeCamera(np.array([[500.0, 0, 300], [0, 500, 240], [0, 0, 1]]), 600, 480)
    matrix = np.eye(4)
    matrix[0, 3] = 0.02
    rgb_T_depth = Transform(FRAME.frame_id, "second_optical_frame", matrix)
    depth = register_depth(FRAME.depth, FRAME.camera, camera, rgb_T_depth.inverse())

    def own(parts: dict[str, Any]) -> None:
        header = live.camera.composer.header(stamp_of(parts[roles.RGB]), "second_optical_frame")
        parts[roles.DEPTH] = live.camera.composer.image_depth(depth, header)
        parts[roles.DEPTH_INFO] = live.camera.composer.camera_info(camera, header)

    live.assert_refused(live.ask(), "INVALID_INPUT", "depth/camera_info", "no message")
    live.use(frame_timeout=15.0)
    live.assert_refused(live.ask(change=own), "TF_UNAVAILABLE", "second_optical_frame")
    live.camera.tf(rgb_T_depth, static=True)
    live.until(lambda: "second_optical_frame" in live.poses, "its place is known")
    found = live.ask(change=own).position
    registered = register_depth(depth, camera, FRAME.camera, rgb_T_depth)
    assert found == pytest.approx(core_position(dataclasses.replace(FRAME, depth=registered)), abs=1e-6)
    assert found == pytest.approx(core_position(), abs=0.02)


def test_depth_of_another_time_is_moved_through_the_fixed_frame(live: Graph) -> None:
    """The base drives; colour is taken 10 ms after depth. Without the fixed frame the answer would be beside it."""
    live.use(base_frame="cart", transform_timeout=10.0, fixed_frame="odom")
    frame = dataclasses.replace(FRAME, frame_id="cart_camera", base_T_camera=None)
    live.camera.tf(Transform("cart", "cart_camera", FRAME.base_T_camera.matrix), static=True)
    begin, speed, lag = live.camera.now(), 2.0, 10_000_000

    def driving(parts: dict[str, Any]) -> None:
        stamp = stamp_of(parts[roles.RGB])
        for then in (stamp - 30_000_000, stamp + 30_000_000):
            matrix = np.eye(4)
            matrix[0, 3] = speed * (then - begin) * 1e-9
            live.camera.tf(Transform("odom", "cart", matrix), stamp_ns=then)
        parts[roles.DEPTH].header = live.camera.composer.header(stamp - lag, "cart_camera")

    found = live.ask(SENTENCE, frame, change=driving, period=0.1).position
    shift = np.eye(4)
    shift[0, 3] = -speed * lag * 1e-9
    base_T_then = Transform("world", "then", shift @ FRAME.base_T_camera.matrix)  # of depth, seen from the base now
    depth = register_depth(FRAME.depth, FRAME.camera, FRAME.camera, FRAME.base_T_camera.inverse() @ base_T_then)
    assert found == pytest.approx(core_position(dataclasses.replace(FRAME, depth=depth)), abs=2e-4)
    assert abs(found[0] - core_answer().target.pose.position[0]) > 0.01
