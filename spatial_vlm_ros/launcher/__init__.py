# SPDX-License-Identifier: Apache-2.0
"""Run launch files without ROS's launch: their helpers, a stand-in of the launch API, and the processes they start."""
