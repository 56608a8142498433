"""Make the pictures of the dashboard: train, start TensorBoard, take screenshots of its pages.

    python docs/screenshots.py

It needs Debian's packages chromium and chromium-driver, and takes about two minutes.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.dashboard.browser import Browser, served  # noqa: E402
from trainkit.dashboard.contents import contents_of  # noqa: E402
from trainkit.dashboard.pages import pages  # noqa: E402

DOCS = ROOT / "docs"
RUN = (
    "+experiment=digits", "trainer.epochs=12", "trainer.clip_grad_norm=1.0",
    "loss.components.l2.weight=1e-4", "optimizer.lr=0.003", "hydra.run.dir=runs/one",
)  # fmt: skip
SWEEP = ("-m", "+experiment=digits", "trainer.epochs=3", "model=mlp,cnn", "optimizer.lr=0.01,0.003",
         "hydra.sweep.dir=runs/sweep")  # fmt: skip
# Picture → the question whose page it shows.
OF_ONE_RUN = {
    "dashboard.png": "how it trains",
    "questions.png": "question by question",
    "pictures.png": "what it predicts",
}
# Small, so that the text can be read where a document shows the picture at 900 pixels.
SIZE = (1150, 860)


def main() -> None:
    """Train, look, and write the pictures beside this script."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for arguments in (RUN, SWEEP):
            command = [sys.executable, "-m", "trainkit", "run", *arguments]
            subprocess.run(  # noqa: S603  # no shell, fixed arguments
                command, cwd=folder, check=True, stdout=subprocess.DEVNULL
            )
        browser = Browser(folder / "profile")
        try:
            browser.driver.set_window_size(*SIZE)
            for runs, wanted in (
                ("runs/one", OF_ONE_RUN),
                ("runs/sweep", {"choices.png": "which choice matters"}),
            ):
                with served(["-m", "trainkit", "board", runs], folder) as address:
                    shown = pages(address, contents_of(folder / runs))
                    found = {page.question: page.address for page in shown}
                    for picture, question in wanted.items():
                        browser.open(found[question])
                        time.sleep(8)  # charts are drawn one after the other
                        browser.driver.save_screenshot(str(DOCS / picture))
        finally:
            browser.close()


if __name__ == "__main__":
    main()
