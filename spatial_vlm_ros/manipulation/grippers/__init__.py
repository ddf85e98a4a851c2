# SPDX-License-Identifier: Apache-2.0
"""Gripper commands and grasp detection: widths, joint positions, judgement. No ROS."""
