# SPDX-License-Identifier: Apache-2.0
"""Recorded cases, how a run answers them, and what of it is right."""
