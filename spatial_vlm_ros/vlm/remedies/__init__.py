# SPDX-License-Identifier: Apache-2.0
"""Published remedies for the spatial blindness of vision-language models, as modules for a loaded model.

Each attaches to `Parts` with hooks that it can remove; none copies a model's code. See docs/remedies.md.
"""
