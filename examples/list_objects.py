# SPDX-License-Identifier: Apache-2.0
"""A consumer of vision_msgs/Detection3DArray: what was measured in the image of an answer, what was meant first.

    python examples/list_objects.py --ask "grab me the chick behind the cup"

Listens to `objects` (parameter objects: true of the resolver). Without --ask somebody else asks. Ends after the first
array, or with 1 when none comes. docs/drop_in.md starts the rest of it without a camera.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from std_msgs.msg import String
from vision_msgs.msg import Detection3D, Detection3DArray

DONE, FAILED = 0, 1
AGAIN = 2.0  # s: an instruction that was sent before the resolver heard this program is lost


class Listener(Node):
    """Keeps the first array.

    Args:
        instruction: asked on the topic `instruction`; empty = nothing.
    """

    def __init__(self, instruction: str) -> None:
        super().__init__("list_objects_example")
        self.first: Detection3DArray | None = None
        self._instruction = instruction
        self._asks = self.create_publisher(String, "instruction", 10)
        self.create_subscription(Detection3DArray, "objects", self._take, 10)
        self.create_timer(AGAIN, self._ask)

    def _ask(self) -> None:
        if self._instruction and self.first is None:
            self._asks.publish(String(data=self._instruction))

    def _take(self, found: Detection3DArray) -> None:
        self.first = self.first or found


def told(found: Detection3DArray) -> list[str]:
    """A line for each object; a refusal has none."""
    if not found.detections:
        return ["refused: nothing to act on"]
    return [line(obj) for obj in found.detections]


def line(obj: Detection3D) -> str:
    """Name, centre with its standard deviation, and size."""
    said, at, size = obj.results[0], obj.bbox.center.position, obj.bbox.size
    sigmas = [1000 * math.sqrt(said.pose.covariance[axis * 7]) for axis in range(3)]
    return (
        f"{obj.id} ({said.hypothesis.class_id}): {at.x:.3f} {at.y:.3f} {at.z:.3f} m in {obj.header.frame_id}, "
        f"± {max(sigmas):.0f} mm, {size.x:.3f} x {size.y:.3f} x {size.z:.3f} m"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Wait for one array."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--ask", default="", help="an instruction")
    given.add_argument("--timeout", type=float, default=20.0, help="seconds")
    said = list(sys.argv if words is None else words)
    options = given.parse_args(remove_ros_args(said)[1:])
    rclpy.init(args=said)
    node = Listener(options.ask)
    end = node.get_clock().now().nanoseconds + int(options.timeout * 1e9)
    try:
        while node.first is None and node.get_clock().now().nanoseconds < end:
            rclpy.spin_once(node, timeout_sec=0.1)
        if node.first is None:
            node.get_logger().error(f"no objects within {options.timeout:g} s; is objects: true?")
            return FAILED
        print("\n".join(told(node.first)))
        return DONE
    except (KeyboardInterrupt, ExternalShutdownException):
        return FAILED
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
