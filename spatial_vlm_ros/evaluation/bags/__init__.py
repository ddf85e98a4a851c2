# SPDX-License-Identifier: Apache-2.0
"""Bags of ROS 1 and ROS 2: read within limits, checked, written with checksums; without ROS."""
