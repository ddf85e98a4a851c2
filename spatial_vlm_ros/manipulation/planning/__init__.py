# SPDX-License-Identifier: Apache-2.0
"""Turns a resolved target into checked planner goals: grasps, placements, planning scene, checks for changes."""
