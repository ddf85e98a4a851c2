# SPDX-License-Identifier: Apache-2.0
"""Commands of the lab; `spatial-vlm` finds them as plug-ins."""
