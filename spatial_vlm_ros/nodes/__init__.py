# SPDX-License-Identifier: Apache-2.0
"""The live graph: the only folder that imports rclpy and message packages. Thin shells around the core."""
