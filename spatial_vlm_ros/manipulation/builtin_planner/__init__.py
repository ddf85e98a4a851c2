# SPDX-License-Identifier: Apache-2.0
"""A motion planner in this process, for where no MoveIt runs. See docs/builtin_planner.md; its extra is `arm`.

Its files, in order of use:

- `request.py`: what is asked: segments, boxes, what may be touched
- `srdf.py`, `joint_tree.py`, `joint_limits.py`: what SRDF, URDF and MoveIt's joint_limits.yaml say of an arm
- `arm_model.py`: an arm: joints, limits, hulls, pairs that never collide, fingers
- `robot.py`, `known_arms.py`: the Panda; arms by name
- `collision.py`: whether a configuration is free
- `inverse.py`: configurations of a pose
- `line.py`: configurations along a straight line of the tip
- `search.py`: a free path between two configurations
- `path.py`, `timing.py`: corners rounded; when to be where
- `planner.py`, `watch.py`: the whole story, and when to end it
"""
