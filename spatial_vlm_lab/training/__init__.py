# SPDX-License-Identifier: Apache-2.0
"""The compact grounding model: from phrases and an image to boxes and masks. See docs/models.md.

`spec`, `tokens`, `letterbox`, `decoding`, `shards` and `scoring` need only NumPy: running an exported model needs no
torch. The others need torch and transformers.
"""
