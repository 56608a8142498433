"""The bar on a real (pseudo) terminal, rendered."""

import io
import logging
import sys
import threading
import warnings

import pytest

from tests.screen.terminal import rendered, terminal
from trainkit.screen import Bar, guarded_streams


def test_nothing_tears_it_and_it_tears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        handler = logging.StreamHandler(sys.stderr)  # holds the stream since before the run
        with guarded_streams() as guards:
            bar = Bar(*guards)
            assert bar.shown
            for i in range(5):
                bar.draw(i / 5, f"iteration {i}")
                print(f"print {i}")
                bar.draw(i / 5, f"iteration {i} again")
                handler.emit(logging.makeLogRecord({"msg": f"log {i}"}))
                bar.draw(i / 5, "and a warning")
                text = warnings.formatwarning(f"warning {i}", UserWarning, "x.py", 1, "")
                print(text, end="", file=sys.stderr)
            bar.draw(1.0, "the last")
            bar.close()
    expected = [
        line
        for i in range(5)
        for line in (f"print {i}", f"log {i}", f"x.py:1: UserWarning: warning {i}")
    ]
    assert [line.rstrip("\r") for line in screen.lines()] == [*expected, ""]


def test_it_waits_for_the_end_of_somebody_elses_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen, guarded_streams() as guards:
        bar = Bar(*guards)
        for _ in range(4):
            print(".", end="", flush=True)
            bar.draw(0.5, "in between")
        print()
        bar.draw(0.5, "now")
    text = screen.wait()
    assert "in between" not in text
    assert "now" in text
    assert rendered(text)[0].rstrip("\r") == "...."


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_it_fits_the_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch, columns) as screen, guarded_streams() as guards:
        Bar(*guards).draw(0.5, "epoch 3/20  iteration 412/1100  loss 0.51  85 it/s  12 s left")
    (line,) = screen.lines()
    assert 10 < len(line) < columns


@pytest.mark.parametrize("variable", [{"TERM": "dumb"}, {"show": "no"}])
def test_where_it_is_not_wanted(variable: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        monkeypatch.setenv("TERM", variable.get("TERM", "xterm"))
        with guarded_streams() as guards:
            bar = Bar(*guards, show="show" not in variable)
            assert not bar.shown
            bar.draw(0.5, "text")
    assert screen.wait() == ""


def test_never_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(raw, "utf-8"))
    with guarded_streams() as guards:
        Bar(*guards).draw(0.5, "text")
    assert raw.getvalue() == b""


def test_two_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch, 120) as screen, guarded_streams() as guards:
        bar = Bar(*guards)

        def write() -> None:
            for i in range(200):
                sys.stdout.write(f"line {i}\n")

        thread = threading.Thread(target=write)
        thread.start()
        for i in range(200):
            bar.draw(i / 200, f"iteration {i}")
        thread.join()
        bar.close()
    shown = [line.rstrip("\r") for line in screen.lines()]
    assert shown == [*(f"line {i}" for i in range(200)), ""]
