"""A real Slurm for tests: munged, slurmctld and two slurmd on this machine, as root, in a folder of their own.

By hand: `python tests/cluster/local_slurm.py snakemake --profile profiles/slurm ...` runs a command beside it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sshare")
PROGRAMS = ("munged", "slurmctld", "slurmd", *COMMANDS)
PACKAGES = ("slurm-wlm", "munge")
# A node's name must lead to it from the others, as names do on a cluster; these need no name server.
NODES = ("127.0.0.1", "127.0.0.2")
# Two nodes of eight CPUs and two GPUs each are pretended; what there really is does not matter to tiny models.
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ctld}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=1
MinJobAge=600
KillWait=60
JobRequeue=1
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr={name} Port={port} CPUs=8 RealMemory=64000 Gres=gpu:2 State=UNKNOWN"
)


def missing() -> str:
    """Why there is no Slurm here, in one sentence; empty where there is one. Installs it where that can be done."""
    if os.getuid() != 0:
        return "Slurm's daemons are started as root, and this is not root"
    if not all(map(_where, PROGRAMS)) and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES], env=environment, **quiet)
    lacking = [name for name in PROGRAMS if not _where(name)]
    return f"no {', '.join(lacking)} here (Debian: apt-get install {' '.join(PACKAGES)})" if lacking else ""


@contextlib.contextmanager
def local_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The environment variables with which Slurm's commands find a Slurm that lives as long as the block."""
    environment = _configure(folder)
    daemons: list[subprocess.Popen] = []
    try:
        daemons.append(_start(folder, environment, "munged", *_munge_options(folder)))
        _wait(lambda: (folder / "munge.socket").exists(), folder, "munged")
        daemons.append(_start(folder, environment, "slurmctld", "-D"))
        daemons += [_start(folder, environment, "slurmd", "-D", "-N", name) for name in NODES]
        _wait(lambda: _idle(environment) == len(NODES), folder, "the nodes")
        yield environment
    finally:
        _stop(environment, daemons)


def _where(name: str) -> str | None:
    """Debian keeps daemons where an ordinary PATH does not look."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _configure(folder: Path) -> dict[str, str]:
    for name in ("state", *NODES):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    ctld, *ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(NODE.format(name=n, host=host, port=p) for n, p in zip(NODES, ports, strict=True))
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, ctld=ctld, nodes=nodes))
    # Slurm counts a GPU for every file that is there; what these are it does not ask.
    for device in ("gpu0", "gpu1"):
        (folder / device).touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-1]\n")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH", "SRUN"))}
    path = f"{_commands(folder)}:{os.environ['PATH']}"
    return {**inherited, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}


def _commands(folder: Path) -> Path:
    """Slurm's commands, told where the configuration is: within a job Snakemake's plugin drops SLURM_CONF."""
    (folder / "bin").mkdir()
    for name in COMMANDS:
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {_where(name)} "$@"\n')
        script.chmod(0o755)
    return folder / "bin"


def _munge_options(folder: Path) -> list[str]:
    files = {name: folder / f"munge.{name}" for name in ("socket", "key", "pid", "log", "seed")}
    named = {"socket": "socket", "key": "key-file", "pid": "pid-file", "log": "log-file", "seed": "seed-file"}
    return ["--foreground", "--force", *(f"--{named[name]}={path}" for name, path in files.items())]


def _start(folder: Path, environment: dict[str, str], program: str, *options: str) -> subprocess.Popen:
    # No daemon outlives this process, even if it is killed.
    words = ["setpriv", "--pdeathsig", "TERM", _where(program), *options]
    with (folder / f"{program}.out").open("a") as output:
        return subprocess.Popen(words, env=environment, stdout=output, stderr=output, start_new_session=True)


def _idle(environment: dict[str, str]) -> int:
    asked = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--states=idle"], env=environment, capture_output=True, text=True, check=False
    )
    return len(asked.stdout.splitlines())


def _wait(ready, folder: Path, what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in folder.glob("*.[lo][ou][gt]"))
            raise RuntimeError(f"{what} did not start:\n{logs}")
        time.sleep(0.2)


def _stop(environment: dict[str, str], daemons: list[subprocess.Popen]) -> None:
    """Cancel what still runs, then end the daemons, the last one started first."""
    if len(daemons) > 1:
        subprocess.run(["scancel", "--user=root", "--full"], env=environment, capture_output=True, check=False)
        time.sleep(1)
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    sentence = missing()
    if sentence:
        sys.exit(f"error: {sentence}")
    with tempfile.TemporaryDirectory(prefix="slurm-") as place, local_slurm(Path(place)) as variables:
        sys.exit(subprocess.run(sys.argv[1:] or ["bash"], env=variables, check=False).returncode)
