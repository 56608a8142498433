"""Standard streams that are closed, full, a pipe that ended, or cannot encode: none raises."""

import io
import logging
import os
import subprocess
import sys

import pytest

from trainkit.screen import guarded_streams, settle_streams
from trainkit.screen.streams import Guard


def test_a_pipe_that_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = open(writing, "w")  # noqa: SIM115
    monkeypatch.setattr("sys.stdout", stream)
    with guarded_streams():
        for _ in range(3):
            print("somebody's own print", flush=True)
        logging.StreamHandler(stream).emit(logging.makeLogRecord({"msg": "a held stream"}))
    settle_streams()
    stream.close()
    told = [r for r in caplog.records if r.name == "trainkit.screen"]
    assert len(told) == 1
    assert "standard output" in told[0].getMessage()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stream = open("/dev/full", "w")  # noqa: SIM115
    monkeypatch.setattr("sys.stderr", stream)
    with guarded_streams():
        for _ in range(3000):
            print("more than the buffer holds", file=sys.stderr)
        sys.stderr.flush()
    settle_streams()
    stream.close()
    assert len([r for r in caplog.records if r.name == "trainkit.screen"]) == 1


def test_a_closed_stream_and_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", None)
    with guarded_streams() as (out, err):
        assert isinstance(out, Guard)
        assert err is None
        stream.close()
        print("gone")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_the_stream_does_not_have(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr("sys.stdout", stream)
    with guarded_streams():
        print("loss ↓ café", flush=True)
    found = raw.getvalue().decode(encoding)
    assert found.startswith("loss \\u2193 caf")


def test_the_stream_is_itself_again_and_faults_of_the_caller_are_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr("sys.stdout", stream)
    with guarded_streams() as (outer, _):
        with guarded_streams() as (inner, _):
            assert inner is outer, "one guard, however often it is asked for"
        assert "write" in vars(stream)
        with pytest.raises(TypeError):
            sys.stdout.write(3)  # type: ignore[arg-type]
    assert not {"write", "flush"} & set(vars(stream))


PROGRAM = """
import os, sys
from trainkit.screen.streams import guarded_streams, open_closed_streams, settle_streams
open_closed_streams()
file = open(sys.argv[1], "wb")  # without the null device it would get a free number below 3
with guarded_streams():
    print("to nobody", flush=True)
    print("to nobody", file=sys.stderr, flush=True)
    os.write(2, b"past Python")
settle_streams()
sys.exit(7 if file.fileno() > 2 else 8)
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_streams_that_are_closed_at_the_start(closed: str, tmp_path: object) -> None:
    shell = " ".join(f"{number}{'<' if number == '0' else '>'}&-" for number in closed)
    path = f"{tmp_path}/file"
    command = [sys.executable, "-c", PROGRAM, path]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {shell}', "bash", *command], capture_output=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert os.path.getsize(path) == 0
