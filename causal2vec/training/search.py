"""``python -m causal2vec.training.search``: try settings, judged by validation pairs alone.

A file of trials (``config/trials.yaml``) says what is tried, for every method as often. A trial is a training without
a saved model, then its audit on the validation pairs (`causal2vec.evaluation.audit`): no evaluation task is looked at.
Each trial is a file in the output folder; what is there already, or in the kept results (``docs/trials.jsonl``), is not
done again. ``--write`` puts what was found into docs/trials.jsonl and docs/trials.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from causal2vec.config import Config, ModelSource, Section, add_config_option, load_config
from causal2vec.config.prompts import prompts_of, study_prompts
from causal2vec.config.runs import runs_of
from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.files import read_json, read_yaml, sha256_json, write_json, write_text
from causal2vec.runtime.folders import Folders
from causal2vec.runtime.machine import process_context
from causal2vec.training.job import Job


class Group(Section):
    """Trials of one method at one scale."""

    method: str
    scale: str = Field(description="what the group is called in the tables, for example 60 steps")
    common: dict[str, Any] = Field(default_factory=dict, description="key with dots -> value, for all of them")
    seeds: list[int] = [0]
    trials: list[dict[str, Any]] = Field(description="key with dots -> value, on top of common")


class Trials(Section):
    """A file of trials."""

    models: dict[str, ModelSource] = Field(default_factory=dict, description="models beside the configuration's")
    groups: list[Group]


class Trial(Section):
    """One training to be judged."""

    method: str
    scale: str
    seed: int
    changes: dict[str, Any]

    @property
    def name(self) -> str:
        """The trial's file, the same for the same settings."""
        return f"{self.method}-{sha256_json(self.model_dump())[:12]}.json"


def trials_of(source: Trials) -> list[Trial]:
    """Every trial, the groups' in their order."""
    return [
        Trial(method=group.method, scale=group.scale, seed=seed, changes={**group.common, **changes})
        for group in source.groups
        for changes in group.trials
        for seed in group.seeds
    ]


def load_trials(path: Path) -> Trials:
    """Read a file of trials.

    Raises:
        UserError: It is absent or not what a file of trials must be.
    """
    try:
        return Trials.model_validate(read_yaml(path, "name a file such as config/trials.yaml"))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; correct it") from error


def changed(config: Config, models: dict[str, ModelSource], trial: Trial) -> Config:
    """The configuration that a trial is of, checked like any other.

    ``settings.KEY`` is a setting of the method; any other key stands in the configuration as it is written.

    Raises:
        UserError: A key or value does not fit.
    """
    plain = config.model_dump()
    plain["models"] |= {name: model.model_dump() for name, model in models.items()}
    plain |= {"seeds": [trial.seed], "ablations": {}}
    for key, value in trial.changes.items():
        words = key.split(".")
        if words[0] == "settings":
            words = ["methods", trial.method, *words]
        target = plain
        for word in words[:-1]:
            target = target.setdefault(word, {})
        target[words[-1]] = value
    return load_config(plain, where=f"the trial {trial.changes} of {trial.method}")


def run_trial(
    config: Config, models: dict[str, ModelSource], trial: Trial, work: Path, device: str, dtype: str
) -> dict[str, Any]:
    """Train and audit.

    Args:
        config, models, trial: As `changed` takes them.
        work: Folder with ``models`` and ``pairs``.
        device, dtype: Where and in which format to compute.

    Returns:
        The trial, ``audit``, the mean ``loss`` of the last tenth of the steps, and ``seconds`` of every stage.
    """
    from transformers import set_seed

    from causal2vec.evaluation.audit import audit
    from causal2vec.training.alignment import pretrain_alignment
    from causal2vec.training.contrastive import train
    from causal2vec.training.stages import Computing, pretrain_mntp

    config = changed(config, models, trial)
    run = next(run for run in runs_of(config) if run.method == trial.method)
    is_llm = config.models[run.base].kind == "llm"
    parts = {"llm": run.base, "encoder": run.encoder} if is_llm else {"encoder": run.base}
    folders = {part: work / "models" / name for part, name in parts.items()}
    prompts = prompts_of(study_prompts(config), run.spec)
    pairs, seconds, compute = work / "pairs", {}, Computing(device, dtype)
    with tempfile.TemporaryDirectory() as scratch:
        start, folder = time.perf_counter(), Path(scratch)
        if run.spec.mntp and config.mntp:
            stage, rows = config.mntp.on(run.base), pairs / "train.parquet"
            llm, state = folder / "mntp", folder / "m"
            pretrain_mntp(folders["llm"], rows, stage, run.budget.lora, run.seed, llm, state, compute)
            folders["llm"], seconds["mntp"] = llm, round(time.perf_counter() - start, 1)
        if run.spec.alignment and config.alignment:
            encoder = folder / "aligned"
            pretrain_alignment(run, folders, pairs, config.alignment, encoder, folder / "a", compute)
            folders["encoder"], seconds["alignment"] = encoder, round(time.perf_counter() - start, 1)
        set_seed(run.seed)
        job = Job(run=run, folders=folders, pairs=pairs, prompts=prompts, output=folder, state=folder / "t",
                  device=device, dtype=dtype)  # fmt: skip
        module, record = train(job, "sdpa")
        module.max_seq_length = run.max_length
        found = audit(module, pairs / "validation.parquet", prompts, device=device)
    losses = [entry["loss"] for entry in record["loss"]][-max(1, run.budget.steps // 10) :]
    return {
        **trial.model_dump(),
        "loss": round(sum(losses) / len(losses), 4),
        "seconds": {**seconds, "training": record["seconds"]},
        "device": device,
        "dtype": dtype,
        "audit": found,
    }


def _begin(threads: int) -> None:
    """What a process does before its first trial."""
    import torch
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    torch.set_num_threads(threads)
    disable_progress_bar()
    set_verbosity_error()


def _try(output: Path, trial: Trial, *told: Any) -> str:
    """Run a trial and write its result; what to say of it."""
    try:
        result = run_trial(*told)
    except Exception as error:
        return f"FAILED, {type(error).__name__}: {error}"
    write_json(output / trial.name, result)
    return str(result["audit"]["mrr"]["own"])


def search(config: Config, source: Trials, work: Path, output: Path, options: argparse.Namespace) -> None:
    """Run every trial that has no result, in ``--jobs`` processes, and say each one's result in a line.

    Raises:
        UserError: Some trials failed; the others went on.
    """
    wanted = trials_of(source)
    context = process_context(["sentence_transformers", "peft"], options.device)  # its processes end with this one
    pool = ProcessPoolExecutor(options.jobs, context, _begin, (options.threads,))
    try:
        running = {
            pool.submit(_try, output, trial, config, source.models, trial, work, options.device, options.dtype): trial
            for trial in wanted
            if not (output / trial.name).is_file()
        }
        for number, done in enumerate(as_completed(running), 1):
            trial = running[done]
            line = f"{trial.method}, {trial.scale}, seed {trial.seed}, {trial.changes}: {done.result()}"
            sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] {number}/{len(running)} {line}\n")
    finally:
        pool.shutdown(cancel_futures=True)
    if failed := sum(not (output / trial.name).is_file() for trial in wanted):
        raise UserError(f"{failed} of {len(wanted)} trials failed; their lines above say why; the same command goes on")


def restore(kept: Path, output: Path) -> None:
    """Put kept results into the folder of results, where they are not there."""
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []:
        result = json.loads(line)
        trial = Trial(**{key: result[key] for key in Trial.model_fields})
        if not (output / trial.name).is_file():
            write_json(output / trial.name, result)


def write_results(source: Trials, output: Path, kept: Path) -> None:
    """Write the results that are there to ``kept``, a line each in the order of the trials, and a table beside it."""
    results = [read_json(output / t.name) for t in trials_of(source) if (output / t.name).is_file()]
    write_text(kept, "".join(json.dumps(result) + "\n" for result in results))
    write_text(kept.with_suffix(".md"), table_of(source, results))


def table_of(source: Trials, results: list[dict[str, Any]]) -> str:
    """All results as Markdown, best first within a method and scale, after a count of what was planned and done."""
    planned = Counter((trial.scale, trial.method) for trial in trials_of(source))
    done = Counter((result["scale"], result["method"]) for result in results)
    made = "Made by `python -m causal2vec.training.search --write`; see [choices.md](choices.md)."
    lines = ["# Every trial", "", made, "", "| scale | method | trials planned | done |", "|---|---|--:|--:|"]
    lines += [
        f"| {scale} | `{method}` | {count} | {done[scale, method]} |" for (scale, method), count in planned.items()
    ]
    lines += [
        "",
        "MRR × 100 on validation pairs: of the whole embedding, of its parts, with the mean token or another text's. "
        "*Loses*: points that h(EOS) loses with the mean token, and the 95 % interval over queries. *Cosine*: of "
        "h(Contextual) between unrelated texts. *Attention*: the largest share of a layer's that EOS gives the token.",
    ]
    for scale, method in dict.fromkeys((result["scale"], result["method"]) for result in results):
        own = [result for result in results if (result["scale"], result["method"]) == (scale, method)]
        lines += ["", f"## {method}, {scale}", "", f"| {' | '.join(_HEADS)} |", "|---" * len(_HEADS) + "|"]
        lines += [f"| {' | '.join(_cells(r))} |" for r in sorted(own, key=lambda r: -r["audit"]["mrr"]["own"]["whole"])]
    return "\n".join(lines) + "\n"


_HEADS = ("what is set", "seed", "whole", "h(C)", "h(EOS)", "mean token: whole", "h(EOS) loses", "other's: whole",
          "cosine", "attention", "loss", "s", "on")  # fmt: skip


def _cells(result: dict[str, Any]) -> list[str]:
    audit, changes = result["audit"], []
    for key, value in result["changes"].items():
        if key == "alignment":
            value = f"{value['objective']}, {value['steps']} steps, rate {value['learning_rate']:g}"
        if not key.endswith(".alignment"):
            changes.append(f"{key.removeprefix('settings.').removeprefix('budget.')}: {value}")
    mrr, token = audit["mrr"], [""] * 5
    if "token_used" in audit:
        lost = audit["loss_without"]
        token = [
            f"{mrr['mean']['whole']:.1f}",
            f"{lost['points']:+.1f} ({lost['low']:+.1f} to {lost['high']:+.1f})" + " **used**" * audit["token_used"],
            f"{mrr['other']['whole']:.1f}",
            f"{audit['spread']['contextual']['cosine']:.2f}",
            f"{max(audit['attention']['eos']):.0%}",
        ]
    parts = [f"{mrr['own'][part]:.1f}" if part in mrr["own"] else "" for part in ("whole", "contextual", "eos")]
    end = [f"{result['loss']:.2f}", f"{sum(result['seconds'].values()):.0f}", result["device"]]
    return ["; ".join(changes), str(result["seed"]), *parts, *token, *end]


def main() -> None:
    """Parse the command line and try."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.training.search", description=__doc__)
    add_config_option(parser)
    parser.add_argument("--trials", type=Path, default=Path("config/trials.yaml"), help="what is tried")
    parser.add_argument("--work", type=Path, help="folder with models and pairs; default: the study's")
    parser.add_argument("--output", type=Path, help="a file per trial; default: the study's work/STUDY/trials")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--threads", type=int, default=1, help="processor threads of each")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--kept", type=Path, default=Path("docs/trials.jsonl"), help="results of earlier searches")
    parser.add_argument("--write", action="store_true", help="write results to --kept and a table beside; no trial")
    options = parser.parse_args()
    config, source = load_config(options.config), load_trials(options.trials)
    work = options.work or Folders(config.study).work
    output = options.output or Folders(config.study).work / "trials"
    restore(options.kept, output)
    if options.write:
        write_results(source, output, options.kept)
    else:
        search(config, source, work, output, options)


if __name__ == "__main__":
    run_cli(main)
