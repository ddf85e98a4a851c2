# SPDX-License-Identifier: Apache-2.0
"""Nodes that spin on the calling thread while they wait for something, above all those of command-line programs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from spatial_vlm_ros.errors import InputError, StaleInputError
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.process import interrupted_afterwards

_STEP = 0.05  # s between two looks
_DESCRIBED = 10.0  # s: a description is latched, so only discovery takes time
_AGAIN = 1.0  # s after which a service is asked again: a server drops replies to a client that it does not know yet


@contextlib.contextmanager
def client_node(name: str, namespace: str, arguments: list[str]) -> Iterator[Node]:
    """A command-line program's node in its own ROS context, by "--ros-args …"; Ctrl-C raises KeyboardInterrupt."""
    try:
        rclpy.init(args=arguments, signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    except RuntimeError as error:  # rcl's message
        reason = " ".join(str(error).split())
        raise InputError("ROS arguments", " ".join(arguments), "--ros-args -r name:=topic", reason) from error
    node = None
    try:
        try:
            node = rclpy.create_node(name, namespace=namespace)
        except NameValidationException as error:
            reason = " ".join(str(error).split())
            raise InputError("namespace", repr(namespace), "letters, digits, _ and /", reason) from error
        yield node
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


class Spinner:
    """Spins a node that nothing else spins, on the calling thread, while something is awaited."""

    def __init__(self, node: Node) -> None:
        self._node, self._executor = node, SingleThreadedExecutor(context=node.context)

    def until(self, condition: Callable[[], Any], seconds: float) -> bool:
        """Spin until a condition holds, for at most `seconds`; returns whether it holds."""
        self._executor.add_node(self._node)
        end = time.monotonic() + seconds
        while not (holds := bool(condition())) and time.monotonic() < end:
            with interrupted_afterwards():
                self._executor.spin_once(timeout_sec=_STEP)
        return holds

    def ask(self, form: Any, service: str, seconds: float, **fields: Any) -> tuple[Any, float] | None:
        """The response of a service to a request with these fields, and the seconds it took; None if none came."""
        client, end = self._node.create_client(form, service), time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                if self.until(client.service_is_ready, left):
                    begun, future = time.monotonic(), client.call_async(form.Request(**fields))
                    if self.until(future.done, min(_AGAIN, seconds)):
                        return future.result(), time.monotonic() - begun
                    client.remove_pending_request(future)
            return None
        finally:
            self._node.destroy_client(client)

    def close(self) -> None:
        """Stop spinning; call it before the node is destroyed."""
        self._executor.shutdown(timeout_sec=1.0)


def heard_description(node: Node, patience: float = _DESCRIBED) -> str:
    """Wait (seconds) for the robot_description topic of a node that needs it; returns the text of the URDF."""
    topic = node.resolve_topic_name("robot_description")
    heard: list[String] = []
    # Without the process's arguments: a remapping of __node would give it the name of the calling node.
    beside = rclpy.create_node(
        f"{node.get_name()}_description",
        context=node.context,
        use_global_arguments=False,
        start_parameter_services=False,
    )
    spinner = Spinner(beside)
    try:
        beside.create_subscription(String, topic, heard.append, qos.DESCRIPTION)
        spinner.until(lambda: heard, patience)
    finally:
        spinner.close()
        beside.destroy_node()
    if not heard:
        repair = (
            "start robot_state_publisher first, or set robot_description to the URDF file of the robot; if the "
            "camera never sees the robot, set it to / or leave it empty"
        )
        raise StaleInputError(f"there was no message on {topic} within {patience:g} s", repair)
    return str(heard[-1].data)
