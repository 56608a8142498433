"""What a person sees in a browser: charts with lines in them, tables with numbers, pictures."""

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
from selenium.webdriver.common.by import By

from tests.dashboard.browser import Browser, needs_browser, served
from trainkit.dashboard.contents import contents_of
from trainkit.dashboard.descriptions import describe
from trainkit.dashboard.layout import CATEGORIES
from trainkit.dashboard.pages import Page, pages

pytestmark = [pytest.mark.browser, needs_browser]

PLAIN = ["-m", "tensorboard.main", "--logdir", "runs", "--host", "127.0.0.1", "--port", "0"]


def page(board: str, runs: Path, question: str) -> str:
    """The address that `trainkit board` prints for a question."""
    found: dict[str, Page] = {p.question: p for p in pages(board, contents_of(runs / "runs"))}
    return found[question].address


def cells(browser: Browser) -> list[str]:
    return [e.text for e in browser.find("vaadin-grid-cell-content") if e.text]


@pytest.mark.parametrize("question", ["which run is best", "how each run trains"])
def test_pinned_cards_have_lines_of_many_runs(
    question: str, board: str, runs: Path, browser: Browser
) -> None:
    address = page(board, runs, question)
    browser.open(address)
    wanted = [c["tag"] for c in json.loads(parse_qs(urlsplit(address).query)["pinnedCards"][0])]
    charts = browser.charts("metrics-pinned-view scalar-card", 3)
    assert max(map(browser.colours, charts)) >= 3  # the runs overlay each other
    assert len(browser.find("metrics-pinned-view card-view")) == len(wanted)
    titles = [e.text for e in browser.find("metrics-pinned-view tb-truncated-path")]
    assert "".join(titles[0].split()) == "loss/total"
    smoothing = browser.find("metrics-dashboard-settings input[type=number]")
    assert "0" in [e.get_attribute("value") for e in smoothing]
    assert browser.errors() == []


def test_train_and_validation_of_one_run_are_on_one_chart(runs: Path, browser: Browser) -> None:
    (one,) = (runs / "runs" / "digits").glob("*[0-9]")
    with served(["-m", "trainkit", "board", str(one)], runs) as address:
        first = pages(address, contents_of(one))[0]
        assert first.question == "how it trains"
        browser.open(first.address)
        (chart,) = browser.charts("metrics-pinned-view scalar-card", 1)
        assert browser.colours(chart) >= 2
        rows = browser.wait_for(
            lambda: chart.find_element(By.CSS_SELECTOR, "scalar-card-data-table")
        )
        assert {"train", "validation"} <= set(rows.text.split())
        assert browser.errors() == []


def test_custom_scalars_has_the_questions_and_charts_with_data(
    board: str, runs: Path, browser: Browser
) -> None:
    browser.open(page(board, runs, "question by question"))
    assert len(browser.charts("vz-line-chart2", 3)) == 3
    shown = browser.text()
    for category in CATEGORIES:
        assert category.question in shown
    assert browser.errors() == []


def test_the_layout_of_plain_tensorboard_has_the_shaded_band(runs: Path, browser: Browser) -> None:
    with served(PLAIN, runs) as address:
        browser.open(f"{address}#custom_scalars&regexInput=digits.*train%24")
        assert len(browser.charts("vz-line-chart2", 2)) == 2
        (band, *_) = browser.charts("tf-custom-scalar-margin-chart-card", 1)
        assert "usual between -4 and -2" in band.text
        assert "does not" not in band.text  # what TensorBoard says of a tag that is not there
        assert browser.errors() == []


def test_hparams_shows_what_differs_and_what_counts(
    runs: Path, browser: Browser, record_property: Callable[[str, object], None]
) -> None:
    (sweep,) = (runs / "runs" / "digits").glob("*multirun")
    with served(["-m", "trainkit", "board", str(sweep)], runs) as address:
        browser.open(address)
        browser.charts("scalar-card", 1)  # TensorBoard itself has been loaded
        seconds = browser.seconds_until("#hparams", "vaadin-grid-cell-content", "results/best")
        found = browser.wait_for(lambda: cells(browser) if len(cells(browser)) > 20 else None)
        record_property("seconds until HPARAMS shows its table", seconds)
        print(f"HPARAMS shows its table after {seconds:.2f} s")
        assert {"model", "optimizer.lr", "results/best_accuracy"} <= set(found)
        assert {"MLP", "CNN"} <= set(found)
        rows = [cell for cell in found if re.match(r"\d_model=", cell)]
        assert len(rows) == 4
        # Few metrics: thousands of them block the browser for half a minute.
        metrics = [e.text for e in browser.find("paper-checkbox") if e.text.startswith("results/")]
        assert 3 <= len(metrics) <= 8
        browser.find("paper-tab")[1].click()
        lines = browser.wait_for(
            lambda: [e for e in browser.find("g.foreground path") if e.get_attribute("d")]
        )
        assert len(lines) == 4
        assert browser.errors() == []


def test_a_run_that_diverged_says_so_in_the_table(board: str, browser: Browser) -> None:
    browser.open(f"{board}#hparams")
    assert browser.wait_for(lambda: any(c.startswith("one (bad)") for c in cells(browser)))
    shown = [e.text for e in browser.find("paper-checkbox")]
    assert {"completed", "diverged"} <= set(shown)


def test_images_are_drawn(board: str, runs: Path, browser: Browser) -> None:
    browser.open(page(board, runs, "what it predicts"))
    pictures = browser.wait_for(lambda: [e for e in browser.find("img") if e.is_displayed()])
    assert min(picture.size["width"] for picture in pictures) >= 100
    assert "predictions/confusion_matrix" in browser.text()
    assert browser.errors() == []


def test_the_first_text_says_how_the_run_ended(runs: Path, browser: Browser) -> None:
    with served(["-m", "trainkit", "board", "runs/bad"], runs) as address:
        browser.open(f"{address}#text")

        def texts() -> list[str]:
            return [e.text for e in browser.find("tf-markdown-view") if e.text.strip()]

        assert browser.wait_for(lambda: any("_target_: trainkit.models" in t for t in texts()))
        assert texts()[0].startswith("Diverged:")
        assert "not finite" in texts()[0]
        assert browser.errors() == []


def test_scalars_explains_a_tag(board: str, browser: Browser) -> None:
    browser.open(f"{board}#scalars&regexInput=digits.*train%24")
    assert len(browser.charts("vz-line-chart2", 1)) == 1
    with urlopen(f"{board}data/plugin/scalars/tags") as answer:
        of_run = next(tags for run, tags in json.load(answer).items() if run.endswith("train"))
    for tag in ("loss/total", "gradients/global_norm", "throughput/samples_per_second"):
        assert describe(tag) in unescape(of_run[tag]["description"])
    assert browser.errors() == []
