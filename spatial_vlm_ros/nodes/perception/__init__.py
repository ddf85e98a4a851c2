# SPDX-License-Identifier: Apache-2.0
"""Nodes and clients that look and answer: resolver, players of frames and bags, doctor."""
