# SPDX-License-Identifier: Apache-2.0
"""Published remedies for the spatial blindness of vision-language models, as pieces that are put on a loaded model.

Each takes hold of `Parts` through hooks that it removes again; none copies a model's code. See docs/remedies.md.
"""
