# SPDX-License-Identifier: Apache-2.0
"""The compact grounding model: from phrases and an image to boxes and masks. See docs/models.md.

`spec`, `decoding` and `familiarity` need only NumPy: running an exported model needs no torch. `model` needs torch and
transformers.
"""
