# SPDX-License-Identifier: Apache-2.0
"""Training of the compact grounding model and of the small relation judge. See docs/models.md.

`images` and `batches` need only NumPy and OpenCV; the others need torch.
"""
