# SPDX-License-Identifier: Apache-2.0
"""`make demo-arm`: words, plan, approval, motion, what physics says, with a film and a page of the decision."""
