# SPDX-License-Identifier: Apache-2.0
"""Gripper drivers: how each one sends commands and interprets replies. See docs/grippers.md."""
