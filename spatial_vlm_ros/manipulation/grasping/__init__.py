# SPDX-License-Identifier: Apache-2.0
"""Grasps on the measured surface of an object: what is seen of it, where a hand fits, and how good each grasp is."""
