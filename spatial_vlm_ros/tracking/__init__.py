# SPDX-License-Identifier: Apache-2.0
"""Follows objects through the images of a camera: which is which, where it is, and whether that is still known."""
