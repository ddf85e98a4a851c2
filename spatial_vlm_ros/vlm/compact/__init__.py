# SPDX-License-Identifier: Apache-2.0
"""The compact grounding model: phrases and an image in; boxes and masks out. See docs/compact_model.md.

`spec`, `tokens`, `letterbox`, `decoding`, `shards` and `scoring` need NumPy alone: running an exported model needs no
torch. The others need torch and transformers.
"""
