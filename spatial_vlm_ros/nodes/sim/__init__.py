# SPDX-License-Identifier: Apache-2.0
"""The simulated arm as a ROS node, with its controllers."""
