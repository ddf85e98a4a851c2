# SPDX-License-Identifier: Apache-2.0
"""`make demo-arm`: words, plan, approval, motion, physics verdict."""
