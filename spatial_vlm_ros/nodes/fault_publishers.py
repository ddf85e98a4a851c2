# SPDX-License-Identifier: Apache-2.0
"""Publishers that apply the faults in a node's parameter `faults` to their messages, and a client that sets it."""

from __future__ import annotations

import copy
import sched
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter

from spatial_vlm_ros.errors import InputError, StaleInputError
from spatial_vlm_ros.nodes.client_node import Spinner
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.sim.faults.catalogue import Fault, FaultLine, as_words, read_faults

FAULTS, FAULT_SEED = "faults", "fault_seed"
FAULTY = ("frame_player", "bag_player", "sim_arm")
"""Nodes that can have faults."""


class FaultyPublisher:
    """A publisher that applies a line of faults in order; usable from any thread."""

    def __init__(self, publisher: Any, line: FaultLine, later: _Later, log: Any, latched: bool) -> None:
        self._publisher, self._line, self._later, self._log, self._latched = publisher, line, later, log, latched
        self._lock = threading.Lock()
        self._sent: Any = None

    def publish(self, message: Any) -> None:
        """Apply the faults to a message, and publish the result now or later."""
        with self._lock:
            if self._latched:
                self._sent = copy.deepcopy(message)
            now = time.monotonic()
            try:
                passed = self._line.pass_on(message, now)
            except InputError as error:
                self._log.error(str(error), throttle_duration_sec=5.0)
                passed = [(now, message)]
            for due, made in passed:
                if due <= now:
                    self._publisher.publish(made)
                else:
                    self._later.put(due, self._publisher, made)

    def set(self, faults: Iterable[Fault]) -> None:
        """Switch to these faults."""
        with self._lock:
            before = self._line.faults
            self._line.set(faults)
            again = self._sent if self._latched and self._line.faults != before else None
        if again is not None:
            self.publish(again)

    def get_subscription_count(self) -> int:
        """Subscription count of the real publisher."""
        return int(self._publisher.get_subscription_count())

    def wait_for_all_acked(self, timeout: Duration) -> bool:
        """Wait until the real publisher's messages are acknowledged; delayed messages are not included."""
        return bool(self._publisher.wait_for_all_acked(timeout))


class FaultPublishers:
    """All faulty publishers of a node; its parameters `faults` and `fault_seed` must be declared.

    `faults` may be set at any time; an invalid value is refused with a list of valid ones.
    """

    def __init__(self, node: Node, forms: Mapping[str, str]) -> None:
        self._node, self.forms = node, dict(forms)
        self._seed = int(node.get_parameter(FAULT_SEED).value)
        self._heard: list[Callable[[tuple[Fault, ...]], None]] = []
        self._later = _Later(node.context.ok)
        self._faults: tuple[Fault, ...] = ()

    def create(self, form: Any, topic: str, profile: Any, *streams: str, opened: Callable[[Any], Any] = copy.deepcopy,
               latched: bool = False) -> FaultyPublisher:  # fmt: skip
        """Create a publisher of a topic with the faults of all its streams, under the name of the first one."""
        line = FaultLine(streams[0], self.forms[streams[0]], self._seed, opened)
        publisher = self._node.create_publisher(form, topic, profile)
        made = FaultyPublisher(publisher, line, self._later, self._node.get_logger(), latched)
        self.hear(
            lambda faults: made.set(
                [Fault(streams[0], f.part, f.kind, f.amount) for f in faults if f.stream in streams]
            )
        )
        return made

    def hear(self, changed: Callable[[tuple[Fault, ...]], None]) -> None:
        """Call a function with the faults now and whenever they change."""
        self._heard.append(changed)
        changed(self._faults)

    def begin(self) -> None:
        """Apply the parameter, and follow its changes."""
        self._switch(read_faults(str(self._node.get_parameter(FAULTS).value), self.forms))
        self._node.add_on_set_parameters_callback(self._on_set)

    def close(self) -> None:
        """Drop delayed messages, and end the thread that publishes them."""
        self._later.close()

    def _on_set(self, changes: Iterable[Parameter]) -> SetParametersResult:
        for change in changes:
            if change.name == FAULTS:
                try:
                    self._switch(read_faults(str(change.value), self.forms))
                except InputError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _switch(self, faults: tuple[Fault, ...]) -> None:
        if faults == self._faults:
            return
        self._faults = faults
        for changed in self._heard:
            changed(faults)
        self._node.get_logger().warning(printable(f"faults: {as_words(faults) or 'none'}"))


class _Later:
    """Publishes messages when they are due, on a thread that starts with the first message."""

    def __init__(self, ok: Callable[[], bool]) -> None:
        self._ok, self._schedule = ok, sched.scheduler(time.monotonic)
        self._lock, self._changed, self._closed = threading.Lock(), threading.Event(), False
        self._thread: threading.Thread | None = None

    def put(self, due: float, publisher: Any, message: Any) -> None:
        with self._lock:
            if self._closed:
                return
            self._schedule.enterabs(due, 0, publisher.publish, (message,))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="delayed", daemon=True)
                self._thread.start()
        self._changed.set()

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            try:
                left = self._schedule.run(blocking=False)
            except RuntimeError:  # raised by rclpy if the context was shut down meanwhile
                if self._ok():
                    raise
                return
            self._changed.wait(left)
            self._changed.clear()  # before the next look at `_closed` and at what is due


def set_faults(node: Node, words: str, target: str, patience: float) -> str:
    """Set the faults of a running player or simulation, as `ros2 param set` would.

    Args:
        words: the faults as text; "" ends all faults.
        target: full name of the node; "" = the running node of `FAULTY`.
        patience: seconds to wait for the node and its response.
    """
    spinner = Spinner(node)
    found = set[str]()

    def is_found() -> bool:
        names = node.get_node_names_and_namespaces()
        found.update(f"{space.rstrip('/')}/{name}" for name, space in names if name in FAULTY)
        return bool(found)

    if not target and not spinner.until(is_found, patience):
        repair = "start one (spatial-vlm up sim), check ROS_DOMAIN_ID, or give the node with --node"
        raise StaleInputError(f"none of {', '.join(FAULTY)} is running", repair)
    if not target and len(found) > 1:
        raise InputError("node with faults", ", ".join(sorted(found)), "one", "choose one with --node")
    name = f"/{target.lstrip('/')}" if target else found.pop()
    wanted = [Parameter(FAULTS, value=words).to_parameter_msg()]
    answer = spinner.ask(SetParametersAtomically, f"{name}/set_parameters_atomically", patience, parameters=wanted)
    spinner.close()
    if answer is None:
        repair = "start it (spatial-vlm up sim), and check its name, ROS_DOMAIN_ID and --node"
        raise StaleInputError(f"there was no answer from a node {name} within {patience:g} s", repair)
    result = answer[0].result
    if not result.successful:
        reason = result.reason or "its parameter faults cannot be set"
        raise InputError(f"faults of {name}", repr(words), "faults that this node supports", reason)
    return name
