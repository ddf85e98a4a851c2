# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm`: one file per verb."""
