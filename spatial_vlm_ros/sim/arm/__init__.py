# SPDX-License-Identifier: Apache-2.0
"""Simulate an arm on a table in MuJoCo, a Franka Panda or a UR5e: grasps, lifts, drops, and a physics verdict.

See docs/sim_arm.md. Needs the extras `sim` and `arm` (for the robot's description). The world frame is the arm's base
frame, z up.
"""
