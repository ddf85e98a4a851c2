# SPDX-License-Identifier: Apache-2.0
"""Perception nodes and clients: resolver, players of frames and bags, doctor."""
