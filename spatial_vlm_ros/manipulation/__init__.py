# SPDX-License-Identifier: Apache-2.0
"""From a resolved target to an approved motion: goals, grasps, planning scene, planner protocol, approval. No rclpy."""
