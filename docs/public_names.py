"""Print `docs/public_names.md`: every public name with the first sentence of its docstring.

    python docs/public_names.py > docs/public_names.md

A test compares the two.
"""

import inspect

import trainkit

# Room of the package → heading.
_HEADINGS = {
    "handlers": "Monitors, and when they measure",
    "writers": "Writers, and what is written",
    "stats": "Statistics",
    "training": "Runs",
    "config": "Runs",
    "settings": "Runs",
    "losses": "Losses",
    "data": "Data",
    "engines": "Engines",
}

_INTRODUCTION = """\
# Public names

All of them are imported from `trainkit`: `from trainkit import attach_monitors`. `help(NAME)` shows
arguments, tags, cost and an example. [CONTRIBUTING.md](../CONTRIBUTING.md) says what is public and
how long it is kept.
"""


def page() -> str:
    """The page in Markdown."""
    found: dict[str, list[str]] = {heading: [] for heading in _HEADINGS.values()}
    for name in trainkit.__all__:
        value = getattr(trainkit, name)
        sentence = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
        room = value.__module__.split(".")[1]
        found[_HEADINGS[room]].append(f"- `{name}`: {sentence}")
    parts = [f"\n## {heading}\n\n" + "\n".join(lines) + "\n" for heading, lines in found.items()]
    return _INTRODUCTION + "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
