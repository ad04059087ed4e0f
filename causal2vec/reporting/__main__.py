"""``python -m causal2vec.reporting``: result files in; statistics, tables, figures, claims and the report out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.folders import RESULTS, the_only

DEFAULT = "default: the one study's in results/"
LAYOUT, CLAIMS = Path("config/tables.yaml"), Path("config/claims.yaml")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m causal2vec.reporting",
        description="Turn result files into statistics, tables, figures, verdicts and one page. Models are not needed.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    gather = commands.add_parser("scores", help="gather evaluation jobs into scores.csv, items/ and an mteb tree")
    gather.add_argument("--jobs", type=Path, nargs="+", required=True, metavar="FOLDER", help="evaluation jobs")
    gather.add_argument("--output", type=Path, required=True, metavar="DIR", help="the results folder to write to")
    for name, text in [
        ("statistics", "intervals and tests, into RESULTS/statistics"),
        ("tables", "Markdown, CSV, LaTeX and HTML tables"),
        ("plots", "figures as SVG and PNG"),
        ("claims", "verdicts on the papers' claims"),
        ("report", "everything on one HTML page"),
    ]:
        command = commands.add_parser(name, help=text)
        command.add_argument("--results", type=Path, metavar="DIR", help=f"holds scores.csv; {DEFAULT}")
        if name == "statistics":
            command.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
            command.add_argument("--resamples", type=int, default=2000, help="resamples (default: 2000)")
            command.add_argument("--seed", type=int, default=0)
            continue
        command.add_argument("--output", type=Path, required=True, help="folder (report: file) to write")
        _add_costs(command)
        if name in ("tables", "report"):
            command.add_argument("--external", type=Path, metavar="DIR", help="other models, in mteb's results layout")
            command.add_argument("--layout", type=Path, default=LAYOUT, metavar="FILE")
        if name in ("claims", "report"):
            command.add_argument("--claims", type=Path, default=CLAIMS, metavar="FILE")
        if name == "claims":
            command.add_argument("--strict", action="store_true", help="fail if a claim is contradicted or not reached")
    _add_checks(commands)
    return parser


def _add_checks(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser("verify", help="check a finished results folder: checksums, scores, tables, all files")
    verify.add_argument("--results", type=Path, metavar="DIR", help=f"wherever it was copied; {DEFAULT}")
    verify.add_argument("--external", type=Path, metavar="DIR", help="the imported results that its tables show")
    _add_costs(verify)
    verify.add_argument("--layout", type=Path, default=LAYOUT, metavar="FILE")
    verify.add_argument("--claims", type=Path, default=CLAIMS, metavar="FILE")
    verify.add_argument("--without-models", action="store_true", help="for a copy without the models")
    verify.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    runs = commands.add_parser("compare-runs", help="what differs between two runs, and whether it explains the scores")
    runs.add_argument("--results", type=Path, metavar="DIR", help=f"one results folder; {DEFAULT}")
    runs.add_argument("--other", type=Path, required=True, metavar="DIR", help="the other one")


def _add_costs(command: argparse.ArgumentParser) -> None:
    text = "an efficiency.csv measured elsewhere, on other bases"
    command.add_argument("--external-efficiency", type=Path, metavar="FILE", help=text)


def main(arguments: list[str] | None = None) -> None:
    """Run one sub-command.

    Raises:
        UserError: An input is missing or does not hold what it should; or a claim is contradicted or not reached, and
            that was to be refused.
    """
    given = _parser().parse_args(arguments)
    if getattr(given, "results", RESULTS) is None:
        given.results = the_only(RESULTS, "scores.csv", "--results")
    {
        "scores": _scores,
        "statistics": _statistics,
        "tables": _tables,
        "plots": _plots,
        "claims": _claims,
        "report": _report,
        "verify": _verify,
        "compare-runs": _compare_runs,
    }[given.command](given)


# Each command imports what it needs itself: --help stays quick, and drawing takes a second to load.


def _scores(given: argparse.Namespace) -> None:
    from causal2vec.reporting.read.scores import collect_items, collect_scores

    collect_scores(given.jobs, given.output / "mteb", given.output / "scores.csv")
    collect_items(given.jobs, given.output / "items")


def _statistics(given: argparse.Namespace) -> None:
    from causal2vec.reporting.analysis.statistics import compute_statistics
    from causal2vec.reporting.analysis.study import load_study
    from causal2vec.reporting.read.benchmarks import load_benchmarks

    if given.workers < 1:
        raise UserError(f"--workers is {given.workers}, but must be at least 1")
    study = load_study(given.results)
    compute_statistics(
        given.results,
        given.results / "statistics",
        bases=study.bases,
        order=study.order,
        benchmarks=load_benchmarks(),
        resamples=given.resamples,
        seed=given.seed,
        workers=given.workers,
    )


def _tables(given: argparse.Namespace) -> None:
    from causal2vec.reporting.analysis.study import load_study
    from causal2vec.reporting.show.tables.build import write_tables
    from causal2vec.reporting.show.tables.layout import load_layout

    write_tables(
        load_study(given.results, external=given.external, external_efficiency=given.external_efficiency),
        given.output,
        load_layout(given.layout),
    )


def _plots(given: argparse.Namespace) -> None:
    from causal2vec.reporting.analysis.study import load_study
    from causal2vec.reporting.show.figures.draw import write_plots

    write_plots(load_study(given.results, external_efficiency=given.external_efficiency), given.output)


def _claims(given: argparse.Namespace) -> None:
    from causal2vec.reporting.analysis.claims.ledger import load_claims, refuse_contradicted
    from causal2vec.reporting.analysis.study import load_study
    from causal2vec.reporting.show.claims import claims_text, write_claims

    study = load_study(given.results, external_efficiency=given.external_efficiency)
    verdicts = write_claims(study, load_claims(given.claims), given.output)
    sys.stdout.write(claims_text(verdicts))
    if given.strict:
        refuse_contradicted(given.output / "claims.json")


def _report(given: argparse.Namespace) -> None:
    import tempfile

    from causal2vec.reporting.analysis.study import load_study
    from causal2vec.reporting.show.figures.draw import write_plots
    from causal2vec.reporting.show.report.page import report_study

    study = load_study(given.results, external=given.external, external_efficiency=given.external_efficiency)
    with tempfile.TemporaryDirectory() as folder:
        write_plots(study, Path(folder))
        report_study(study, given.layout, given.claims, Path(folder), given.output)


def _verify(given: argparse.Namespace) -> None:
    from causal2vec.reporting.check.verify import verify_results

    found = verify_results(
        given.results,
        layout=given.layout,
        claims=given.claims,
        external=given.external,
        external_efficiency=given.external_efficiency,
        models=not given.without_models,
        workers=given.workers,
    )
    _conclude(found.lines(), bool(found.failures))


def _compare_runs(given: argparse.Namespace) -> None:
    from causal2vec.reporting.check.reproduction import compare_runs

    found = compare_runs(given.results, given.other)
    _conclude(found.lines(), not found.reproduced)


def _conclude(lines: list[str], failed: bool) -> None:
    """Print what a check found; exit status 1 if something failed, as 2 is for a command that cannot be done."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    run_cli(main)
