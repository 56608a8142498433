"""Out of file handles, a folder that becomes read-only: a training goes on."""

import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.training.parts import FULL, go, weights
from tests.training.test_faults import LONG, At
from trainkit.rundir import load_checkpoint, read_status


def test_out_of_file_handles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For some epochs no file can be opened; then it goes on as if nothing had been."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    plain = go(tmp_path / "plain", model=partial(At, {}), trainer=LONG)

    def none_left() -> None:
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))

    def again() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    actions = {10: none_left, 26: again}
    try:
        result = go(tmp_path / "r", model=partial(At, actions), trainer=LONG, monitor=FULL)
    finally:
        again()
    assert torch.equal(weights(plain), weights(result))
    assert "Too many open files" in caplog.text
    assert load_checkpoint(tmp_path / "r" / "checkpoints" / "last.pt")["iteration"] == 42
    assert read_status(tmp_path / "r" / "run.json")["status"] == "completed"


READ_ONLY = """
import os, sys
from functools import partial
from pathlib import Path
from tests.training.parts import FULL, go
from tests.training.test_faults import LONG, At

place = Path(sys.argv[1])

def forbid():
    for folder in (place, *place.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o555)

go(place.parent / "before", model=partial(At, {}), trainer=LONG, monitor=FULL)  # imports all
os.setuid(65534)  # nobody: root may write everywhere
result = go(place, model=partial(At, {10: forbid}), trainer=LONG, monitor=FULL)
print("alarms:", "; ".join(result.alarms))
print("iterations:", result.iterations, result.status)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="becomes nobody, which only root may")
def test_a_folder_that_becomes_read_only(tmp_path: Path) -> None:
    place = tmp_path / "open" / "r"
    place.parent.mkdir()
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    place.parent.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(place)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "iterations: 42 completed" in done.stdout
    assert "checkpoints/last.pt is not written: Permission denied" in done.stdout
    assert "Traceback" not in done.stderr
    shutil.rmtree(place.parent)
