"""One training in as many processes as its settings say, on one machine or on several nodes of a cluster.

PyTorch's ``torchrun`` starts the processes; each runs `causal2vec.training.worker` on the same job file. See
docs/training.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json, write_text
from causal2vec.runtime.machine import keep_few_programs, keep_freed_memory
from causal2vec.runtime.signals import ends_with_us
from causal2vec.training import ranks
from causal2vec.training.job import FAILURE, JOB, Job

GRACE_SECONDS = 300
"""How long ``torchrun`` leaves the processes to write a checkpoint after a signal before it kills them."""


def launch(job: Job) -> None:
    """Make a run's model: here if one process does it, else by as many as ``run.distributed`` says.

    Raises:
        UserError: What one of the processes raised; or there are not as many GPUs, or this is no cluster's job
            though several nodes are wanted.
    """
    if not job.run.trained or job.run.distributed.total == 1:
        perform(job)
        return
    ranks.check_batch(job.run.budget, job.run.distributed.total)
    if job.device == "cuda":
        check_gpus(job.run.distributed.processes)
    path = job.state / JOB
    write_text(path, job.model_dump_json(indent=2))
    (job.state / FAILURE).unlink(missing_ok=True)
    status = _forwarding_signals(command(job, path))
    if (job.state / FAILURE).is_file():
        failure = read_json(job.state / FAILURE)
        error = UserError(failure["error"])
        error.status = failure.get("status")
        raise error
    if status:
        raise RuntimeError(f"a training process failed; its error is above (torchrun ended with status {status})")


def perform(job: Job) -> None:
    """Do a job in this process, which may be one of several that ``torchrun`` started.

    Raises:
        UserError: As `causal2vec.training.contrastive.make_model`.
    """
    import torch

    from causal2vec.training.contrastive import make_model

    torch.set_num_threads(job.threads)
    keep_freed_memory()
    keep_few_programs()
    if spread := ranks.launched():
        distributed = spread.model_copy(update={"strategy": job.run.distributed.strategy})
        job = job.model_copy(update={"run": job.run.model_copy(update={"distributed": distributed})})
    make_model(job)


def check_gpus(processes: int) -> None:
    """Every process needs a GPU of its own.

    Raises:
        UserError: This machine has fewer.
    """
    import torch

    if processes > (found := torch.cuda.device_count()):
        raise UserError(
            f"distributed.processes is {processes}, but only {found} GPUs can be used here; set it to {found} or "
            "less, or make more of them visible (CUDA_VISIBLE_DEVICES, or the job's request to the cluster)"
        )


def command(job: Job, path: Path) -> list[str]:
    """The command that starts all processes of a job, the job file being at ``path``.

    Raises:
        UserError: Several nodes are wanted outside a Slurm job.
    """
    nodes, processes = job.run.distributed.nodes, job.run.distributed.processes
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    torchrun += [f"--shutdown-timeout={GRACE_SECONDS}", "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]
    worker = ["-m", "causal2vec.training.worker", str(path.resolve())]
    if nodes == 1:
        return [*torchrun, "--standalone", *worker]
    if "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            f"distributed.nodes is {nodes}, but this is no Slurm job; run 'torchrun --nnodes={nodes} "
            f"--nproc-per-node={processes} --rdzv-backend=c10d --rdzv-endpoint=FIRST_NODE:29400 {' '.join(worker)}' "
            "on every node, or set distributed.nodes to 1"
        )
    number = os.environ["SLURM_JOB_ID"]
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    srun += [f"--cpus-per-task={processes * job.threads}"]
    srun += [f"--gpus-per-node={processes}"] if job.device == "cuda" else []
    meeting = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-id={number}"]
    # Jobs that share a node must not meet at the same port.
    meeting += [f"--rdzv-endpoint={_first_host(number)}:{20000 + int(number) % 20000}"]
    return [*srun, *torchrun, *meeting, *worker]


def _first_host(number: str) -> str:
    """The name of a Slurm job's first node. Snakemake's job step hides SLURM_JOB_NODELIST, so Slurm is asked."""
    nodes = os.environ.get("SLURM_JOB_NODELIST") or _output("squeue", "--noheader", f"--job={number}", "--format=%N")
    return _output("scontrol", "show", "hostnames", nodes).split()[0]


def _output(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or error
        raise UserError(f"'{' '.join(words)}' failed ({detail}), which must tell the job's first node") from error
    return done.stdout.strip()


def _forwarding_signals(words: list[str]) -> int:
    """Run a command to its end and return its status; a signal to stop goes on to it."""
    from causal2vec.training.checkpoints import SIGNALS

    child = subprocess.Popen(words, preexec_fn=ends_with_us)  # torchrun passes SIGTERM on to its workers

    def forward(number: int, frame: Any) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        return child.wait()
    except BaseException:
        # Ctrl-C reaches the child by itself; it must not outlive us.
        child.terminate()
        child.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
