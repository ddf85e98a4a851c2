# SPDX-License-Identifier: Apache-2.0
"""Pixels and depth to metres: cameras, depth images, the support plane, and objects with extents and covariance."""
