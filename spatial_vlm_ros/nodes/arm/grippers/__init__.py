# SPDX-License-Identifier: Apache-2.0
"""Drivers of grippers, each by its own messages: what is sent, and what is made of the reply. docs/grippers.md."""
