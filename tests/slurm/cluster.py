"""A private Slurm on this machine: three nodes, one with two declared GPUs, in a folder of its own.

``python tests/slurm/cluster.py FOLDER`` starts one to try by hand, prints the variables that its
commands need, and stops it at Ctrl-C.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol")
# CPU and memory are what the nodes claim to have: the tests need room for a few jobs, not speed.
# `proctrack/cgroup` needs cgroups, `accounting_storage` a database; neither is here. A device file
# stands for each GPU: Slurm then gives a job its index in CUDA_VISIBLE_DEVICES. The job of a node
# that died is started again when its credential is over (`cred_expire`, in seconds).
SLURM_CONF = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=30
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
MinJobAge=3600
GresTypes=gpu
NodeName=c1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=32000
NodeName=c2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=32000
NodeName=g1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} CPUs=8 RealMemory=32000 \
Gres=gpu:2
PartitionName=cpu Nodes=c[1-2] Default=YES MaxTime=08:00:00 State=UP
PartitionName=gpu Nodes=g1 MaxTime=08:00:00 State=UP
"""
GRES_CONF = """\
AutoDetect=off
NodeName=g1 Name=gpu File=/dev/null
NodeName=g1 Name=gpu File=/dev/zero
"""
NODES = ("c1", "c2", "g1")


def why_not() -> str | None:
    """Return why no Slurm can be started here, or nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not installed; tests/slurm/install.sh installs them"
    return None if os.getuid() == 0 else "slurmctld and slurmd must be started by root"


@dataclass(frozen=True)
class Cluster:
    """A running Slurm."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its commands need; the GPUs of a job are the scheduler's to name."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")}
        path = os.pathsep.join([str(self.folder / "bin"), _path()])
        return kept | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def call(self, *words: str) -> str:
        """Run one of its commands and return what it prints."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Return what the controller remembers of every job, in order of submission."""
        lines = self.call("scontrol", "show", "job", "--oneliner", "--details").splitlines()
        jobs = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return sorted((job for job in jobs if "JobId" in job), key=lambda job: int(job["JobId"]))


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Start munged, the controller and a daemon for each node; stop them at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", "spool", "munge", "bin"):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    conf = SLURM_CONF.format(host=host, folder=folder, ports=_free_ports(1 + len(NODES)))
    (folder / "slurm.conf").write_text(conf)
    (folder / "gres.conf").write_text(GRES_CONF)
    # Inside a job the plugin calls srun without SLURM_CONF, which it takes for the outer job's.
    srun = folder / "bin" / "srun"
    real = shutil.which("srun", path=_path())
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {real} "$@"\n')
    srun.chmod(0o755)
    cluster = Cluster(folder)
    with ExitStack() as daemons:
        _start_munge(cluster, daemons)
        _start(cluster, daemons, "slurmctld", "-D", "-c")
        _wait(lambda: _answers(cluster, "scontrol", "ping"), "the controller does not answer")
        for node in NODES:
            _start(cluster, daemons, "slurmd", "-D", "-c", "-N", node)
        _wait(lambda: _idle_nodes(cluster) == len(NODES), "the nodes do not come up")
        yield cluster
        subprocess.run(["scancel", "--user=root"], env=cluster.environment, check=False)


def _start_munge(cluster: Cluster, daemons: ExitStack) -> None:
    folder = cluster.folder / "munge"
    key = folder / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    folder.chmod(0o711)
    files = [f"--{name}-file={folder / name}" for name in ("key", "log", "pid", "seed")]
    # --force: the folder's parents may be closed to others, which is no concern of a private key.
    words = ("munged", "--foreground", "--force", f"--socket={folder}/socket", *files)
    _start(cluster, daemons, *words)
    _wait((folder / "socket").exists, "munged does not open its socket")


def _start(cluster: Cluster, daemons: ExitStack, *words: str) -> None:
    with (cluster.folder / f"{'-'.join(words)[:40].replace('/', '_')}.out").open("wb") as out:
        daemon = subprocess.Popen(words, env=cluster.environment, stdout=out, stderr=out)
    daemons.callback(_stop, daemon)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(timeout=20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _answers(cluster: Cluster, *words: str) -> bool:
    done = subprocess.run(words, env=cluster.environment, capture_output=True, check=False)
    return done.returncode == 0 and b"UP" in done.stdout


def _idle_nodes(cluster: Cluster) -> int:
    return cluster.call("sinfo", "--noheader", "--Node", "--format=%N %t").count("idle")


def _wait(condition, complaint: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _path() -> str:
    """Return where programs are looked for; the daemons lie in /usr/sbin."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running(Path(sys.argv[1]).absolute()) as cluster:
        for name in ("SLURM_CONF", "PATH"):
            print(f"export {name}={cluster.environment[name]}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
