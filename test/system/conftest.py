# SPDX-License-Identifier: Apache-2.0
"""The live graph of test/nodes."""

from __future__ import annotations

import live_fixtures

domain, graph, collect_ignore_glob = live_fixtures.domain, live_fixtures.graph, live_fixtures.collect_ignore_glob
start, node = live_fixtures.start, live_fixtures.node
