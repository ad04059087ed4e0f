"""``python -m causal2vec.reporting``: result files in, scores, tables and plots out."""

from __future__ import annotations

import argparse
from pathlib import Path

from causal2vec.errors import run_cli


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m causal2vec.reporting", description="Turn result files into scores, tables and plots."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    scores = commands.add_parser("scores", help="gather evaluation jobs into an mteb tree and scores.csv")
    scores.add_argument("--jobs", type=Path, nargs="+", required=True, metavar="FOLDER", help="evaluation jobs")
    scores.add_argument("--mteb", type=Path, required=True, metavar="DIR", help="root of the common mteb tree")
    scores.add_argument("--output", type=Path, required=True, metavar="FILE", help="the scores.csv to write")

    tables = commands.add_parser("tables", help="write tables as Markdown, CSV and LaTeX")
    _add_inputs(tables)
    tables.add_argument("--note", action="append", default=[], help="a note for every table; may be repeated")
    tables.add_argument("--decimals", type=int, default=1, help="decimals of the scores (default: 1)")

    plots = commands.add_parser("plots", help="draw figures as SVG and PNG")
    _add_inputs(plots)
    plots.add_argument("--note", default="", help="one line for every figure")
    return parser


def _add_inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--scores", type=Path, required=True, metavar="FILE", help="scores.csv")
    command.add_argument("--efficiency", type=Path, metavar="FILE", help="efficiency.csv")
    command.add_argument(
        "--training",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="training.json of each trained model",
    )
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    command.add_argument(
        "--order", nargs="*", default=[], metavar="METHOD", help="methods in display order; others follow"
    )
    command.add_argument(
        "--bases",
        nargs="+",
        metavar="BASE",
        help="the compared bases; controls, on other bases, are shown beside each (default: every base alone)",
    )


def main(arguments: list[str] | None = None) -> None:
    """Run one sub-command.

    Raises:
        UserError: An input is missing or does not hold what it should.
    """
    given = _parser().parse_args(arguments)
    # Imported late: drawing takes a second to load, and neither --help nor the other commands need it.
    if given.command == "scores":
        from causal2vec.reporting.scores import collect_scores

        collect_scores(given.jobs, given.mteb, given.output)
    elif given.command == "tables":
        from causal2vec.reporting.tables import write_tables

        write_tables(
            given.scores,
            given.efficiency,
            given.training,
            given.output,
            notes=given.note,
            order=given.order,
            decimals=given.decimals,
            bases=given.bases,
        )
    else:
        from causal2vec.reporting.plots import write_plots

        write_plots(
            given.scores,
            given.efficiency,
            given.training,
            given.output,
            note=given.note,
            order=given.order,
            bases=given.bases,
        )


if __name__ == "__main__":
    run_cli(main)
