# SPDX-License-Identifier: Apache-2.0
"""Grasps on the measured surface of an object: the visible surface, where a hand fits, and the grasp scores."""
