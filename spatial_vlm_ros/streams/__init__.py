# SPDX-License-Identifier: Apache-2.0
"""Convert messages of a robot's topics or of a bag to the package's own types and back, without ROS.

Messages are read by their fields, so messages of rclpy and of rosbags give the same results; neither library is
imported here.
"""
