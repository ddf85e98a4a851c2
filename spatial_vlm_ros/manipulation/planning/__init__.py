# SPDX-License-Identifier: Apache-2.0
"""A resolved target as checked goals for a motion planner: grasps, placements, planning scene, what must not change."""
