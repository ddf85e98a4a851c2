# SPDX-License-Identifier: Apache-2.0
"""Launch files without ROS's launch: what they need, a stand-in of its API, the processes they mean, their lives."""
