# SPDX-License-Identifier: Apache-2.0
"""Plan with NVIDIA's cuMotion to the object that a sentence means; moves nothing.

    python examples/cumotion_goal.py "grab me the chick behind the cup"

Sends the flange's pose as isaac_ros_cumotion_interfaces/action/MotionPlan to `cumotion/motion_plan`, the action of its
goal-set planner, whose base has to be the resolver's base_frame and whose tool_frame the flange. That server never
calls succeed, so that its goals end ABORTED also with a plan: `success` of the result counts. Ends with 0 when there
is a plan, 1 when there is none, 3 when nothing is meant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import rclpy
from ask_and_check import Client
from geometry_msgs.msg import PoseArray, PoseStamped
from grasp_pose import NoGraspError, flange_pose
from isaac_ros_cumotion_interfaces.action import MotionPlan
from rclpy.action import ActionClient
from rclpy.utilities import remove_ros_args

PLANNED, FAILED, REFUSED = 0, 1, 3
APPROACH, LIFT, SPEED = 0.1, 0.1, 0.1  # m, m, fraction of the joints' speeds
STRAIGHT = [0.5, 0.5, 0.5, 0.1, 0.1, 0.0]  # weights of turning and shifting about and along x, y, z: free along z


def goal_of(pose: PoseStamped) -> Any:
    """Straight down to the pose along the flange's z, and up again, from where the arm stands."""
    goal = MotionPlan.Goal(goal_pose=PoseArray(header=pose.header, poses=[pose.pose]))
    goal.plan_grasp = goal.plan_approach_to_grasp = goal.plan_grasp_to_retract = True
    goal.use_current_state = True
    goal.time_dilation_factor = SPEED  # 0 is taken as 0.1
    goal.grasp_offset_pose.position.z, goal.retract_offset_pose.position.z = -APPROACH, -LIFT
    goal.grasp_partial_pose_vec_weight = goal.retract_partial_pose_vec_weight = STRAIGHT
    goal.grasp_approach_constraint_in_goal_frame = goal.retract_constraint_in_goal_frame = True
    return goal


def ended(node: Any, goal: Any, patience: float) -> Any:
    """The result, or None when nobody answers in time."""
    client = ActionClient(node, MotionPlan, "cumotion/motion_plan")
    if not client.wait_for_server(timeout_sec=patience):
        return None
    sent = client.send_goal_async(goal)
    rclpy.spin_until_future_complete(node, sent, timeout_sec=patience)
    if not sent.done() or not sent.result().accepted:
        return None
    result = sent.result().get_result_async()
    rclpy.spin_until_future_complete(node, result, timeout_sec=patience)
    return result.result().result if result.done() else None


def main(words: Sequence[str] | None = None) -> int:
    """Ask, and plan."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("instruction")
    given.add_argument("--patience", type=float, default=60.0, help="seconds for each answer; 60 unless given")
    said = list(sys.argv if words is None else words)
    options = given.parse_args(remove_ros_args(said)[1:])
    rclpy.init(args=said)
    node = rclpy.create_node("cumotion_goal")
    try:
        resolution = Client(node, "resolve", options.patience).ask(options.instruction)
        if resolution is None:
            print("no answer. Start the resolver and the camera, and check ROS_DOMAIN_ID")
            return FAILED
        result = ended(node, goal_of(flange_pose(resolution)), options.patience)
        if result is None:
            print("no answer of cumotion/motion_plan. Start its goal-set planner")
            return FAILED
        code = result.error_code.val
        print(f"{len(result.planned_trajectory)} trajectories" if result.success else f"no way: MoveIt code {code}")
        return PLANNED if result.success else FAILED
    except NoGraspError as error:
        print(error)
        return REFUSED
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
