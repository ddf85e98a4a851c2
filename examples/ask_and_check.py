# SPDX-License-Identifier: Apache-2.0
"""Ask a running resolver one sentence, and compare the pose of its answer with where the object really is.

    python examples/ask_and_check.py "grab me the chick behind the cup" --world worlds/chicks.sdf --model bonnet
    python examples/ask_and_check.py "grab me the chick behind the cup" --truth 0.90 0.05 0.15 --within 0.02

The truth is a point, or the middle of a model's meshes in an SDF world whose frame is the base frame. Ends with 0 when
the pose is at most `--within` metres away, 1 when it is farther away, nobody answers or the pose is in another frame,
2 for wrong usage, 3 when the resolver refuses. While the camera starts (STALE_INPUT, TF_UNAVAILABLE, NOT_SYNCHRONISED)
it asks again, for at most `--patience` seconds. It needs rclpy and spatial_vlm_interfaces, and nothing else.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import rclpy
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from spatial_vlm_interfaces.action import ResolveInstruction

Point = tuple[float, float, float]

NEAR, FAILED, REFUSED = 0, 1, 3
NOT_YET = ("STALE_INPUT", "TF_UNAVAILABLE", "NOT_SYNCHRONISED")
STEP = 0.1  # s between two looks at the graph
PAUSE = 1.0  # s before it asks again


class WorldError(Exception):
    """A world does not say where a model is."""


def middle_of(world: Path, name: str) -> Point:
    """Middle of the box around a model's meshes, at the pose that its world gives it (metres, the world's frame).

    Raises:
        WorldError: the file cannot be read, has no such model, or the model has no meshes, or is tilted.
    """
    try:
        root = ElementTree.parse(world).getroot()  # noqa: S314 - a world of one's own
        model = root.find(f"world/model[@name='{name}']")
        if model is None:
            known = ", ".join(str(each.get("name")) for each in root.iterfind("world/model"))
            raise WorldError(f"{world}: no model {name!r}. Choose one of: {known}")
        x, y, z, roll, pitch, yaw = (float(word) for word in model.findtext("pose", "0 0 0 0 0 0").split())
        meshes = [world.parent / uri.text for uri in model.iterfind("link/visual/geometry/mesh/uri") if uri.text]
        points = [point for mesh in meshes for point in vertices(mesh)]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise WorldError(f"{world}: {error}") from error
    if not points:
        raise WorldError(f"{world}: the model {name!r} has no meshes. Give its position with --truth")
    if roll or pitch:
        raise WorldError(f"{world}: the model {name!r} is tilted. Give its position with --truth")
    c, s = math.cos(yaw), math.sin(yaw)
    own = [(c * u - s * v, s * u + c * v, w) for u, v, w in points]
    low, high = ([pick(axis) for axis in zip(*own, strict=True)] for pick in (min, max))
    u, v, w = ((a + b) / 2 for a, b in zip(low, high, strict=True))
    return x + u, y + v, z + w


def vertices(mesh: Path) -> list[Point]:
    """The vertices of a Wavefront OBJ."""
    rows = (line.split() for line in mesh.read_text(encoding="utf-8").splitlines() if line.startswith("v "))
    return [(float(x), float(y), float(z)) for _, x, y, z in rows]


class Client:
    """Asks the action `resolve`.

    Args:
        node: that the client belongs to.
        action: its name.
        patience: seconds for everything together.
    """

    def __init__(self, node: Node, action: str, patience: float) -> None:
        self._node, self._end = node, time.monotonic() + patience
        self._client = ActionClient(node, ResolveInstruction, action)

    @property
    def late(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() > self._end

    def ask(self, instruction: str) -> Any:
        """The resolution, also a refusal; None where nobody answers in time."""
        answer = None
        while not self.late:
            answer = self._once(instruction) or answer
            if answer is not None and answer.status.name not in NOT_YET:
                return answer
            pause = time.monotonic() + PAUSE
            while time.monotonic() < min(pause, self._end):
                rclpy.spin_once(self._node, timeout_sec=STEP)
        return answer

    def _once(self, instruction: str) -> Any:
        while not self._client.server_is_ready():
            rclpy.spin_once(self._node, timeout_sec=STEP)
            if self.late:
                return None
        handle = self._wait(self._client.send_goal_async(ResolveInstruction.Goal(instruction=instruction)))
        if handle is None or not handle.accepted:
            return None
        ended = self._wait(handle.get_result_async())
        return None if ended is None else ended.result.resolution

    def _wait(self, future: Any) -> Any:
        while not future.done() and not self.late:
            rclpy.spin_once(self._node, timeout_sec=STEP)
        return future.result() if future.done() else None


def judged(resolution: Any, truth: Point, within: float, frame: str) -> tuple[int, str]:
    """Exit code, and a line for people."""
    if resolution is None:
        return FAILED, "no answer. Start the resolver and the camera, and check ROS_DOMAIN_ID"
    if not resolution.target:
        return REFUSED, f"{resolution.status.name}: {resolution.status.message}"
    target = resolution.target[0]
    at = target.pose.pose.position
    found = f"{target.label} at ({at.x:.3f}, {at.y:.3f}, {at.z:.3f}) m in {resolution.header.frame_id}"
    if resolution.header.frame_id != frame:
        return FAILED, f"{found}; the truth is in {frame}. Set base_frame"
    off = math.dist((at.x, at.y, at.z), truth)
    near = off <= within
    verdict = f"{1000 * off:.0f} mm from the truth ({truth[0]:.3f}, {truth[1]:.3f}, {truth[2]:.3f})"
    return NEAR if near else FAILED, f"{found}, {verdict}, {'within' if near else 'not within'} {1000 * within:.0f} mm"


def main(words: Sequence[str] | None = None) -> int:
    """Ask, and compare."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("instruction")
    given.add_argument("--truth", type=float, nargs=3, metavar=("X", "Y", "Z"), help="where the object is, metres")
    given.add_argument("--world", type=Path, help="SDF world that says where the object is")
    given.add_argument("--model", help="name of the object in that world")
    given.add_argument("--within", type=float, default=0.02, help="metres; 0.02 unless given")
    given.add_argument("--frame", default="base_link", help="frame of the truth; base_link unless given")
    given.add_argument("--action", default="resolve")
    given.add_argument("--patience", type=float, default=60.0, help="seconds; 60 unless given")
    said = list(sys.argv if words is None else words)
    options = given.parse_args(remove_ros_args(said)[1:])
    if (options.truth is None) == (options.world is None) or (options.world is None) != (options.model is None):
        given.error("give --truth X Y Z, or --world FILE with --model NAME")
    try:
        truth: Point = tuple(options.truth) if options.truth else middle_of(options.world, options.model)
    except WorldError as error:
        given.error(str(error))
    rclpy.init(args=said)
    node = rclpy.create_node("ask_and_check")
    try:
        resolution = Client(node, options.action, options.patience).ask(options.instruction)
        code, line = judged(resolution, truth, options.within, options.frame)
        print(line)
        return code
    except (KeyboardInterrupt, ExternalShutdownException):
        return FAILED
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
