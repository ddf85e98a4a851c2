# SPDX-License-Identifier: Apache-2.0
"""Reads a running resolver from another node: its parameters, topics, clock, state and diagnostics."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python

from spatial_vlm_ros.evaluation.frame_doctor import Finding, Severity
from spatial_vlm_ros.nodes import parameters, qos
from spatial_vlm_ros.nodes.interrupts import interrupted_afterwards
from spatial_vlm_ros.nodes.perception.graph import publishers_of
from spatial_vlm_ros.parameters import Settings

_REPLY = 5.0  # s for a service call: the node may be busy loading a model
_SPOKEN = 3.0  # s to wait for its diagnostics, which come once a second
_TOPIC = " topic"  # ends the key of each topic in its diagnostics
_UNKNOWN = "_UNKNOWN_"  # part of the name that rmw gives a node whose endpoints are discovered first
SIM_TIME = "use_sim_time"


@dataclass
class AttachedResolver:
    """What a running resolver reports.

    Args:
        settings: its parameters; None if it did not report them.
        state: label of its lifecycle state; "" if it did not report it.
    """

    name: str
    settings: Settings | None = None
    sim_time: bool = False
    state: str = ""
    statuses: dict[str, DiagnosticStatus] = field(default_factory=dict)

    @property
    def topics(self) -> dict[str, str]:
        """Role → full name of its topic; empty until its diagnostics come."""
        status = self.statuses.get("streams")
        pairs = status.values if status is not None else ()
        return {pair.key.removesuffix(_TOPIC): pair.value for pair in pairs if pair.key.endswith(_TOPIC)}

    def findings(self) -> Iterator[Finding]:
        """Findings from its diagnostics: errors say that a request would not be served now."""
        check = f"resolver {self.name}"
        if self.settings is None:
            repair = "start it again and check its log"
            yield Finding(check, Severity.ERROR, f"it did not return its parameters within {_REPLY:g} s", repair)
        if self.state != "active":
            repair = f"run ros2 lifecycle set {self.name} configure (then activate), or start it with autostart: true"
            yield Finding(check, Severity.ERROR, f"it is {self.state or 'in an unknown state'}", repair)
        if not self.statuses:
            repair = "check its log, and whether /diagnostics is remapped"
            yield Finding(check, Severity.WARNING, f"it published no diagnostics within {_SPOKEN:g} s", repair)
        for name, status in self.statuses.items():
            if status.level != DiagnosticStatus.OK:
                level = Severity.ERROR if status.level == DiagnosticStatus.ERROR else Severity.WARNING
                said, repair = (*re.split(r"[.;] ", status.message, maxsplit=1), "")[:2]
                yield Finding(f"{check}: {name}", level, said, repair or "check its other statuses")
        requests = self.statuses.get("requests")
        if requests is not None and requests.level == DiagnosticStatus.OK:
            ended = [f"{pair.key.removeprefix('ended ')} {pair.value}" for pair in requests.values
                     if pair.key.startswith("ended ")]  # fmt: skip
            said = f"a request now would be served; ended so far: {', '.join(ended) or 'none'}"
            yield Finding(f"{check}: requests", Severity.OK, said)


class Attaching:
    """Finds a running resolver and reads its state.

    Args:
        node: a node in the resolver's namespace.
        executor: executor of the node; only this class spins it.
    """

    def __init__(self, node: Node, executor: Executor) -> None:
        self._node, self._executor = node, executor
        self._status_topic = node.resolve_topic_name("resolve/_action/status")
        self.found: AttachedResolver | None = None
        node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos.ANSWERS)

    @property
    def names(self) -> list[str]:
        """Full names of the nodes discovered so far that offer the action `resolve` in this namespace."""
        return [name for name in publishers_of(self._node, self._status_topic) if _UNKNOWN not in name]

    def attach(self) -> AttachedResolver | None:
        """Read the resolver that runs in this namespace; None if none runs."""
        names = self.names
        if not names:
            return None
        self.found = running = AttachedResolver(names[0])
        wanted = [*parameters.declared(), SIM_TIME]
        reply = self._call(GetParameters, "get_parameters", names=wanted)
        if reply is not None and len(reply.values) == len(wanted):
            values = dict(zip(wanted, map(parameter_value_to_python, reply.values), strict=True))
            running.sim_time = bool(values.pop(SIM_TIME))
            running.settings = parameters.settings_of(values)
        state = self._call(GetState, "get_state")
        running.state = "" if state is None else str(state.current_state.label)
        if running.sim_time:
            self._node.set_parameters([Parameter(SIM_TIME, value=True)])
        self.until(lambda: bool(running.topics), _SPOKEN)
        return running

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Spin until a condition holds, for at most `seconds`; returns whether it holds."""
        end = time.monotonic() + seconds
        while not (holds := condition()) and time.monotonic() < end:
            with interrupted_afterwards():
                self._executor.spin_once(timeout_sec=0.05)
        return holds

    def _hear(self, array: DiagnosticArray) -> None:
        if self.found is None:
            return
        prefix = f"{self.found.name.lstrip('/')}: "
        said = {s.name.removeprefix(prefix): s for s in array.status if s.name.startswith(prefix)}
        if said:
            self.found.statuses = said

    def _call(self, form: Any, service: str, **fields: Any) -> Any:
        """Response of a service of the resolver, or None. Repeats the call: a server drops replies to a new client."""
        assert self.found is not None  # noqa: S101 - `attach` has just set it
        client = self._node.create_client(form, f"{self.found.name}/{service}")
        end = time.monotonic() + _REPLY
        while time.monotonic() < end:
            if self.until(client.service_is_ready, end - time.monotonic()):
                future = client.call_async(form.Request(**fields))
                if self.until(future.done, 1.0):
                    return future.result()
        return None
