# SPDX-License-Identifier: Apache-2.0
"""What a gripper is told, and whether it holds something: widths, positions of joints, judgement. Knows no ROS."""
