# SPDX-License-Identifier: Apache-2.0
"""RGB-D frames of other people's objects on tables, drawn by MuJoCo, with instructions and the outcomes that are due.

The truth comes from the settled poses and the meshes. Nothing here imports `language/` or `spatial/`.
"""
