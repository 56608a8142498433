"""What a person sees in a browser: charts with lines in them, tables with numbers, pictures."""

from pathlib import Path

import pytest

from tests.dashboard.browser import Browser, needs_browser, served

pytestmark = [pytest.mark.slow, needs_browser]


def test_time_series_has_charts_with_data(board: str, browser: Browser) -> None:
    browser.open(board)
    assert len(browser.charts("scalar-card", 2)) == 2
    assert browser.errors() == []


def test_scalars_has_charts_with_data(board: str, browser: Browser) -> None:
    browser.open(f"{board}#scalars")
    assert len(browser.charts("vz-line-chart2", 2)) == 2
    assert browser.errors() == []


def test_hparams_shows_a_table(board: str, browser: Browser) -> None:
    browser.open(f"{board}#hparams")
    cells = browser.wait_for(
        lambda: [e.text for e in browser.find("vaadin-grid-cell-content") if e.text]
    )
    assert "Trial ID" in cells
    assert browser.errors() == []


def test_images_are_drawn(board: str, browser: Browser) -> None:
    browser.open(f"{board}#images")
    pictures = browser.wait_for(lambda: [e for e in browser.find("img") if e.is_displayed()])
    assert min(picture.size["width"] for picture in pictures) >= 100
    assert browser.errors() == []


def test_texts_are_shown(board: str, browser: Browser) -> None:
    browser.open(f"{board}#text")
    texts = browser.wait_for(lambda: [e.text for e in browser.find("tf-markdown-view") if e.text])
    assert any("_target_: trainkit.models" in text for text in texts)
    assert browser.errors() == []


def test_plain_tensorboard_shows_the_same_charts(runs: Path, browser: Browser) -> None:
    command = ["-m", "tensorboard.main", "--logdir", "runs", "--host", "127.0.0.1", "--port", "0"]
    with served(command, runs) as address:
        browser.open(address)
        assert len(browser.charts("scalar-card", 2)) == 2
        assert browser.errors() == []
