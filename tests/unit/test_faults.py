"""The table of faults names tests that exist, and every fault once."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    line for line in (ROOT / "docs/faults.md").read_text().splitlines() if line.startswith("| F")
]
NAMED = re.compile(r"`([\w/]+\.(?:py|rs))::(\w+)`")


def test_every_fault_has_one_row():
    assert [row.split("|")[1].strip() for row in ROWS] == [f"F{n:02}" for n in range(1, 58)]


def test_every_test_that_is_named_exists():
    missing = []
    for path, name in (found for row in ROWS for found in NAMED.findall(row)):
        file = ROOT / path
        word = "def" if path.endswith(".py") else "fn"
        text = file.read_text() if file.exists() else ""
        if not re.search(rf"\b{word} {name}\(", text):
            missing.append(f"{path}::{name}")
    assert missing == []


def test_a_row_without_a_test_says_why():
    for row in ROWS:
        seen, shown = row.split("|")[3:5]
        assert NAMED.search(shown) or re.search(r"\b(waits|not here)\b", seen), row
