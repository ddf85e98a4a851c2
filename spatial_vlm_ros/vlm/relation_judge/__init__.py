# SPDX-License-Identifier: Apache-2.0
"""A small network that says from an image and two boxes which relations hold. docs/relation_judge.md#a-small-judge.

`crops` needs NumPy and OpenCV alone; `network` and `training` need torch.
"""
