# SPDX-License-Identifier: Apache-2.0
"""`python -m spatial_vlm_ros.cli`: the program `spatial-vlm`."""

from spatial_vlm_ros.cli.main import run

if __name__ == "__main__":
    run()
