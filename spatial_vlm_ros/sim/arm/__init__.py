# SPDX-License-Identifier: Apache-2.0
"""An arm on a table in MuJoCo, a Franka Panda or a UR5e: grasps, lifts, drops, and what physics says.

See docs/sim_arm.md.

Needs the extras `sim` and `arm` (for the robot's description). World frame: that of the arm's base, z up. Its files:

- `collada.py`: painted surfaces of the links
- `machines.py`: the arms that are simulated
- `bodies.py`: an arm as bodies, joints, torques
- `worlds.py`: what stands on the table, and where the camera is
- `cell.py`: all of it in one model, stepped in simulated time
- `control.py`: torques that follow a trajectory; the force of the gripper
- `trajectory.py`, `following.py`: a trajectory by its points, and whether it is kept to
- `view.py`: what the camera and the detector see
- `judge.py`: contact forces, and what became of each object
- `witness.py`: collisions of planned motions, without physics
"""
