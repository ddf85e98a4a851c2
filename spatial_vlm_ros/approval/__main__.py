# SPDX-License-Identifier: Apache-2.0
"""`python -m spatial_vlm_ros.approval [--port N]`: a sample of the page, with example data and without a robot."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from spatial_vlm_ros.approval.audit import AuditLog
from spatial_vlm_ros.approval.desk import ApprovalDesk
from spatial_vlm_ros.approval.page import serve
from spatial_vlm_ros.approval.sample import Sample
from spatial_vlm_ros.errors import SpatialVlmError


def main(arguments: list[str] | None = None) -> int:
    """Serve the sample until interrupted; 0, or 1 where it cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m spatial_vlm_ros.approval", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 = a free one")
    port = parser.parse_args(arguments).port
    with tempfile.TemporaryDirectory() as folder, AuditLog(Path(folder) / "audit.jsonl") as audit:
        desk = ApprovalDesk(audit)
        try:
            with serve(desk, port=port) as page, contextlib.suppress(KeyboardInterrupt):
                sys.stdout.write(f"A sample, no robot is connected: {page.url}\nThe record: {audit.path}\n")
                sys.stdout.flush()
                Sample(desk).run(lambda: False)
        except SpatialVlmError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
