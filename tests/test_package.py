"""What the wheel says of itself stands on its own."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_description_points_to_nothing_in_the_repository() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / project["readme"]).read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)


def test_hydra_has_an_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (hydra,) = (line for line in project["dependencies"] if line.startswith("hydra-core"))
    assert hydra == "hydra-core>=1.3.8,<1.4"
