# SPDX-License-Identifier: Apache-2.0
"""A person's word before anything moves: what is proposed, who decides, the record of it, and a local web page.

Knows no ROS. Start reading in `broker.py`; docs/approval.md says what it is, and docs/safety.md what it is not.
"""
