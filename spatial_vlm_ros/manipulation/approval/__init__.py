# SPDX-License-Identifier: Apache-2.0
"""Approval by a person before anything moves: proposal, decision, record, and a local web page.

No ROS. Start reading in `broker.py`. docs/approval.md describes it, and docs/safety.md says what it does not cover.
"""
