# SPDX-License-Identifier: Apache-2.0
"""Reads and writes what robots record: frame folders with cases, bags, evidence bundles, records of approvals.

Reads a bag if it is on this machine or in a store, without ROS. Rosbags and fsspec are imported when they are needed.
"""
