# SPDX-License-Identifier: Apache-2.0
"""A stack with a detector of its own asks which of its detections a sentence means.

    python examples/select_detection.py "grab me the chick behind the cup" --detections /detections

It takes the newest vision_msgs/Detection2DArray of that topic and sends it to the resolver's service
`select_detection` (parameter selection: true). Ends with 0 and a line about the chosen detection, or with 3 and the
reason, and the question where there is one. docs/drop_in.md starts the rest of it without a camera.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.utilities import remove_ros_args
from spatial_vlm_interfaces.srv import SelectDetection
from vision_msgs.msg import Detection2DArray

ANSWERED, FAILED, REFUSED = 0, 1, 3
IMAGE_LOST = ("STALE_INPUT", "NOT_SYNCHRONISED")


class Asker(Node):
    """Keeps the newest detections and asks about them.

    Args:
        topic: of the detections.
        service: of the resolver.
    """

    def __init__(self, topic: str, service: str) -> None:
        super().__init__("select_detection_example")
        self.newest: Detection2DArray | None = None
        # Best effort hears every publisher.
        self.create_subscription(Detection2DArray, topic, self._take, qos_profile_sensor_data)
        self.client = self.create_client(SelectDetection, service)

    def _take(self, detections: Detection2DArray) -> None:
        self.newest = detections

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float) -> bool:
        """Spin until a callable is true; False, and a word about it, where it takes too long."""
        end = self.get_clock().now().nanoseconds + int(seconds * 1e9)
        while not condition():
            if self.get_clock().now().nanoseconds > end:
                self.get_logger().error(f"waited {seconds:g} s for {what}")
                return False
            rclpy.spin_once(self, timeout_sec=0.1)
        return True

    def ask(self, instruction: str, dialogue_id: str, seconds: float) -> SelectDetection.Response | None:
        """Which of the newest detections is meant; None where nobody answers."""
        if not self.wait_for(self.client.service_is_ready, f"the service {self.client.srv_name}", seconds):
            return None
        end = self.get_clock().now().nanoseconds + int(seconds * 1e9)
        while True:
            self.newest = None  # those that came before are too old by now
            if not self.wait_for(lambda: self.newest is not None, "detections", seconds):
                return None
            # The header goes with them as it is: it names the image that they were found in.
            request = SelectDetection.Request(
                instruction=instruction, dialogue_id=dialogue_id, detections=self.newest
            )  # fmt: skip
            answer = self.client.call_async(request)
            if not self.wait_for(answer.done, "an answer", seconds):
                return None
            reply = answer.result()
            # An image may get lost on its way to the resolver; that of the next detections may not.
            if reply.resolution.status.name not in IMAGE_LOST or self.get_clock().now().nanoseconds > end:
                return reply


def told(reply: SelectDetection.Response) -> str:
    """A line for people."""
    resolution = reply.resolution
    if not reply.index:
        refusal = f"{resolution.status.name}: {resolution.status.message}"
        answer_with = f" {resolution.question} (answer with --dialogue {resolution.dialogue_id})"
        return refusal + (answer_with if resolution.question else "")
    target = resolution.target[0]
    at, frame = target.pose.pose.position, resolution.header.frame_id
    return (
        f"detections[{reply.index[0]}], id {reply.id!r}, {target.label}: {at.x:.3f} {at.y:.3f} {at.z:.3f} m in {frame}"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Ask once."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("instruction")
    given.add_argument("--detections", default="detections", help="topic of vision_msgs/Detection2DArray")
    given.add_argument("--service", default="select_detection")
    given.add_argument("--dialogue", default="", help="id of the question that the instruction answers")
    given.add_argument("--timeout", type=float, default=10.0, help="seconds")
    said = list(sys.argv if words is None else words)
    options = given.parse_args(remove_ros_args(said)[1:])
    rclpy.init(args=said)
    node = Asker(options.detections, options.service)
    try:
        reply = node.ask(options.instruction, options.dialogue, options.timeout)
        if reply is None:
            return FAILED
        print(told(reply))
        return ANSWERED if reply.index else REFUSED
    except (KeyboardInterrupt, ExternalShutdownException):
        return FAILED
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
