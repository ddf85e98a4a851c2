# SPDX-License-Identifier: Apache-2.0
"""Training of the compact grounding model, with torch; `images` needs none."""
