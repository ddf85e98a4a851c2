# SPDX-License-Identifier: Apache-2.0
"""Scenes built by construction, so that the answer is known without a solver: what the resolver is measured on.

The truth in here is written from docs/relations.md alone and shares no code with language/ or spatial/.
"""
