# SPDX-License-Identifier: Apache-2.0
"""Trains a vision-language model on relations and places of objects, with the remedies of `vlm/remedies` in it.

Needs torch and transformers; nothing imports it before it is asked for. See docs/adapt.md.
"""
