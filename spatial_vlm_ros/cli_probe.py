# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm probe`: how a model writes places in a picture. Loaded when it is called."""

from __future__ import annotations

import click

from spatial_vlm_ros.cli_group import ANSWERED, REFUSED, json_option, print_json


@click.command()
@click.argument("grounder")
@click.option("--grounder-options", default="", help="Its options: name=value, separated by spaces.")
@json_option
def probe(grounder: str, grounder_options: str, as_json: bool) -> None:
    """Show GROUNDER's model 18 pictures of shapes at known places, and see in which convention its answers fit.

    Of a model that writes places as text its own words are judged against the convention stated for it; of any other
    backend, one of your own for example, its boxes, which have to be in pixels of the picture. Ends with 0 where that
    is confirmed, with 3 where it is refuted or the answers do not tell.

    \b
    Examples:
      spatial-vlm probe server --grounder-options "model=Qwen3-VL url=http://127.0.0.1:8000/v1 convention=thousand"
      spatial-vlm probe qwen-vl --grounder-options "model=/models/Qwen2.5-VL-3B-Instruct"
      spatial-vlm probe my_package.eyes:load
    """
    from spatial_vlm_ros import terminal
    from spatial_vlm_ros.perception import load_grounder, parse_options, takes_option
    from spatial_vlm_ros.perception.probing_backends import probe_grounder

    options = parse_options(grounder_options)
    if takes_option(grounder, "probe"):
        options["probe"] = "no"  # done here, and told in full
    verdict = probe_grounder(load_grounder(grounder, options))
    print_json(verdict.summary()) if as_json else terminal.verdict(verdict)
    raise SystemExit(ANSWERED if verdict.outcome == "confirmed" else REFUSED)
