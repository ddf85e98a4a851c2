# SPDX-License-Identifier: Apache-2.0
"""Messages of a robot's topics or of a bag to the package's own types and back, without ROS.

Messages are taken by their fields, so that those of rclpy and those that rosbags reads give the same answers; neither
library is imported here.
"""
