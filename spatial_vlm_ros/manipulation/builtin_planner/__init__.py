# SPDX-License-Identifier: Apache-2.0
"""An in-process motion planner for use without MoveIt. See docs/motion.md; it needs the extra `arm`.

Its files, in order of use:

- `request.py`: the request: segments, boxes, allowed contacts
- `description.py`: reads an arm's URDF, SRDF and MoveIt's joint_limits.yaml
- `arm_model.py`: an arm: joints, limits, hulls, pairs that never collide, fingers
- `known_arms.py`: the Panda and other arms by name
- `configurations.py`: whether a configuration is free; configurations of a pose
- `path.py`: round corners; compute times
- `planner.py`: lines of the tip, free paths, and the complete planning with its deadline
"""
