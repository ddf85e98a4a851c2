# SPDX-License-Identifier: Apache-2.0
"""Obstacles from depth: what is measured and is not support, target, a known object or the robot. docs/obstacles.md."""
