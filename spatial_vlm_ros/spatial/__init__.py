# SPDX-License-Identifier: Apache-2.0
"""Decide which object is meant: frames of reference, relations, orders, attributes, and the choice among candidates."""
