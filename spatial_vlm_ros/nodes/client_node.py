# SPDX-License-Identifier: Apache-2.0
"""Nodes of command-line programs, which spin on the main thread while they wait for something."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.nodes.interrupts import interrupted_afterwards

_STEP = 0.05  # s between two looks
_AGAIN = 1.0  # s after which a service is asked again: a server drops replies to a client that it does not know yet


@contextlib.contextmanager
def client_node(name: str, namespace: str, arguments: list[str]) -> Iterator[Node]:
    """A node of a command-line program in its own ROS context; Ctrl-C reaches the caller as KeyboardInterrupt.

    Args:
        arguments: "--ros-args …".
    """
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
    """Spins a node on the calling thread while something is awaited.

    Args:
        node: node that nothing spins meanwhile.
    """

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

    def call(self, client: Any, request: Any, seconds: float) -> tuple[Any, float] | None:
        """The response of a service and the seconds it took; None if no response came."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.until(client.service_is_ready, left):
                begun, future = time.monotonic(), client.call_async(request)
                if self.until(future.done, min(_AGAIN, seconds)):
                    return future.result(), time.monotonic() - begun
                client.remove_pending_request(future)
        return None

    def close(self) -> None:
        """Stop spinning; call it before the node is destroyed."""
        self._executor.shutdown(timeout_sec=1.0)
