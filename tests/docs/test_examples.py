"""Every example runs as a user would run it, and says what it is meant to say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

# For each script, patterns of lines that its output must contain.
EXPECTED = {
    "rms.py": [r"^local: +58\.028845747399714$", r"^parallel: +58\.028845747399714$"],
    "itermapresult.py": [
        r"^direct view: +\[0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121\]$",
        r"^one per task: +\[0, 1, 4, .*121\] 12 tasks$",
        r"^five per task: +\[0, 1, 4, .*121\] 3 tasks$",
        r"^  engine [01] made 121$",
        r"^unordered: +\[0, 1, 4, .*121\]$",
    ],
    "customresult.py": [
        r"^engine [01]: 2 naps in 0\.\d+ s \(slept 0\.\d{3} s, slept 0\.\d{3} s\)$",
        r"^handled 10 of 10 naps$",
        r"^\d\.\d\d s of sleep in \d\.\d\d s$",
    ],
    "interengine.py": [
        r"^engine 2 listens on 127\.0\.0\.1:\d+$",
        r"^the token went by engines \[0, 1, 2\]$",
    ],
    "wordcount.py": [r"^ *\d+  the$", r"^same as alone: True$"],
    "asyncio_map.py": [
        r"^7! = 5040$",
        r"^sums: \[45, 4950, 499500\]$",
        r"^sum of the roots: 20584$",
    ],
    "tour.py": [
        r"^  locally: +58\.028845747399714$",
        r"^  in parallel: +58\.028845747399714$",
        r"^  engine 1: \d+$",
        r"speed-up \d+\.\d\d on \d engines$",
        r"^nothing is left running$",
    ],
}


def test_every_example_has_expectations():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_example_says_what_it_is_meant_to_say(name, leaks, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for pattern in EXPECTED[name]:
        assert re.search(pattern, done.stdout, re.MULTILINE), (pattern, done.stdout)
    assert not list(tmp_path.iterdir()), "an example writes no files"


def test_tour_notebook_runs_from_top_to_bottom(leaks, monkeypatch, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells), "stored without outputs"
    nbclient.NotebookClient(
        notebook, timeout=40, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert shown.count("58.028845747399714") == 2
    assert "speed-up" in shown
