# SPDX-License-Identifier: Apache-2.0
"""Evaluates recorded frames and cases. Independent of live robots."""
