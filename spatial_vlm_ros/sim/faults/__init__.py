# SPDX-License-Identifier: Apache-2.0
"""Faults that the players and the simulated arm inject on request, and their effects on messages."""
