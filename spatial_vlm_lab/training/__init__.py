# SPDX-License-Identifier: Apache-2.0
"""Training of the compact grounding model and of the small relation judge, with torch; `images` needs none."""
