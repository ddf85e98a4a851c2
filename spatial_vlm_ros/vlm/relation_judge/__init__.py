# SPDX-License-Identifier: Apache-2.0
"""A small network that decides from an image and two boxes which relations hold: docs/second_opinion.md#a-small-judge.

`crops` needs only NumPy and OpenCV; `network` and `training` need torch.
"""
