# SPDX-License-Identifier: Apache-2.0
"""Nodes and clients that plan and move: gate, planner, MoveIt client."""
