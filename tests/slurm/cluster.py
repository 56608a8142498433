"""A real Slurm of one node, from Debian's packages, unpacked into a folder and not installed."""

import fcntl
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = [
    "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "libmunge2", "libhwloc15",
]  # fmt: skip

CONFIG = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CryptoType=crypto/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PluginDir={plugins}
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/builtin
KillWait=30
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NoSlurmError(Exception):
    """It cannot be had here; says why."""


class Cluster:
    """Commands of a running Slurm.

    Args:
        folder: Of its files.
        environ: In which its commands work.
    """

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ

    def call(self, folder: Path, *command: str) -> str:
        """The output of a command of Slurm's, run in a folder."""
        done = subprocess.run(
            command, cwd=folder, env=self.environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """Of a job, e.g. `RUNNING`."""
        shown = self.call(self.folder, "scontrol", "show", "job", job)
        return next(word for word in shown.split() if word.startswith("JobState=")).split("=")[1]

    def wait(self, job: str, seconds: float) -> str:
        """The state of a job when it has ended.

        Slurm lets a job that was put back into the queue wait for two minutes, until its old
        credential is forgotten; one that is made to start at once may be refused by the node.
        """
        deadline, bad = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            found = self.state(job)
            # One that is being put back into the queue counts as failed for a moment.
            bad = bad + 1 if found in ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL") else 0
            if found == "COMPLETED" or bad > 40:
                return found
            time.sleep(0.5)
        return self.state(job)


@contextmanager
def cluster(folder: Path, environ: dict[str, str]) -> Iterator[Cluster]:
    """Start one, and stop it.

    Args:
        folder: For its files.
        environ: Of the jobs.

    Raises:
        NoSlurmError: There are no packages, or this is not root.
    """
    # One at a time on a machine: two test processes would have two nodes of the same name.
    with open(Path(tempfile.gettempdir()) / "trainkit-test-slurm.lock", "w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        with _started(_unpacked(folder), folder, environ) as found:
            yield found


@contextmanager
def _started(root: Path, folder: Path, environ: dict[str, str]) -> Iterator[Cluster]:
    libraries = root / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    plugins = libraries / "slurm-wlm"
    programs = {name: root / "usr" / "sbin" / f"{name}-wlm" for name in
                ("slurmctld", "slurmd", "slurmstepd")}  # fmt: skip
    config = folder / "slurm.conf"
    for name in ("state", "spool"):
        (folder / name).mkdir()
    config.write_text(
        CONFIG.format(host=socket.gethostname().split(".")[0], folder=folder, plugins=plugins,
                      controller=_port(), daemon=_port())
    )  # fmt: skip
    environ = {
        **environ,
        "SLURM_CONF": str(config),
        "LD_LIBRARY_PATH": f"{plugins}:{libraries}",
        "PATH": f"{root / 'usr' / 'bin'}:{environ.get('PATH', os.defpath)}",
    }
    started = []
    try:
        for command in (
            [str(programs["slurmctld"]), "-D", "-c"],
            [str(programs["slurmd"]), "-D", "-c", "-d", str(programs["slurmstepd"])],
        ):
            with open(folder / "daemons.log", "ab") as log:
                started.append(subprocess.Popen(command, env=environ, stdout=log, stderr=log))
            time.sleep(1.0)
        found = Cluster(folder, environ)
        deadline = time.monotonic() + 30
        while "idle" not in _shown(environ):
            if time.monotonic() > deadline:
                said = (folder / "daemons.log").read_text()[-500:]
                raise NoSlurmError(f"its daemons do not come up here: {said}")
            time.sleep(0.5)
        yield found
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(20)


def _unpacked(folder: Path) -> Path:
    if os.getuid() != 0:
        raise NoSlurmError("Slurm's daemons want to be root here")
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NoSlurmError("this is no Debian: no apt-get, no dpkg")
    packages, root = folder / "packages", folder / "root"
    packages.mkdir()
    done = subprocess.run(
        ["apt-get", "download", *PACKAGES], cwd=packages, capture_output=True, text=True
    )
    if done.returncode:
        raise NoSlurmError(f"its packages cannot be downloaded: {done.stderr.strip()[-200:]}")
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    return root


def _shown(environ: dict[str, str]) -> str:
    done = subprocess.run(["sinfo", "-h"], env=environ, capture_output=True, text=True, timeout=60)
    return done.stdout


def _port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
