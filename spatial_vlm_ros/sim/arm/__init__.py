# SPDX-License-Identifier: Apache-2.0
"""Simulate an arm on a table in MuJoCo, a Franka Panda or a UR5e: grasps, lifts, drops, and a physics verdict.

See docs/sim_arm.md.

Needs the extras `sim` and `arm` (for the robot's description). The world frame is the arm's base frame, z up. Files:

- `machines.py`: the simulated arms
- `description.py`: an arm as a MuJoCo specification, from its URDF, SRDF and COLLADA
- `worlds.py`: objects on the table, and the camera pose
- `cell.py`: everything in one model, stepped in simulated time
- `control.py`: torques that follow a trajectory; the force of the gripper
- `trajectory.py`: a trajectory, and whether it is followed
- `view.py`: output of the camera and the detector
- `judge.py`: contact forces, and the state of each object
- `witness.py`: collisions of planned motions, without physics
"""
