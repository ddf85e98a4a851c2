# SPDX-License-Identifier: Apache-2.0
"""An in-process motion planner for use without MoveIt. See docs/motion.md; it needs the extra `arm`.

Its files, in order of use:

- `request.py`: the request: segments, boxes, allowed contacts
- `srdf.py`, `joint_tree.py`, `joint_limits.py`: read an arm's SRDF, URDF and MoveIt's joint_limits.yaml
- `arm_model.py`: an arm: joints, limits, hulls, pairs that never collide, fingers
- `robot.py`, `known_arms.py`: the Panda; arms by name
- `collision.py`: whether a configuration is free
- `inverse.py`: configurations of a pose
- `line.py`: configurations along a straight line of the tip
- `search.py`: a free path between two configurations
- `path.py`, `timing.py`: round corners; compute times
- `planner.py`, `watch.py`: the complete planning, and its deadline
"""
