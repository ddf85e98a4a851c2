# SPDX-License-Identifier: Apache-2.0
"""Reads, checks and writes bags of ROS 1 and ROS 2 without ROS, within size limits and with checksums."""
