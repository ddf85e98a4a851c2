# SPDX-License-Identifier: Apache-2.0
"""Train a vision-language model on relations and locations of objects, with the remedies of `vlm/remedies` applied.

Needs torch and transformers, which are imported only when this package is used. See docs/adapt.md.
"""
