"""The program that loads clusters for hours, for some seconds; and the line that it fits."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fit(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    before = set(sys.modules)
    from benchmarks.soak import trend

    yield trend.fit
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "benchmarks":
            del sys.modules[name]


def soak(*words):
    command = [sys.executable, "-m", "benchmarks.soak", *words]
    return subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100, process_group=0
    )


def test_a_mixed_load_gives_right_results_and_leaves_nothing(leaks):
    done = soak("--minutes", "0.05", "--every", "1", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of them wrong" in done.stdout
    for role in ("embedded controller and client", "standalone controller", "its client"):
        assert f"| {role} |" in done.stdout


def test_a_line_through_readings_has_a_slope_per_hour_and_says_how_sure_it_is(fit):
    exact = fit([0, 1800, 3600], [1.0, 2.0, 3.0])
    assert exact.per_hour == pytest.approx(2.0)
    assert exact.spread == pytest.approx(0.0)
    assert exact.grows
    noisy = fit([0, 900, 1800, 2700, 3600], [5.0, 1.0, 6.0, 2.0, 5.5])
    assert not noisy.grows
    assert not fit([0, 10], [1.0, 2.0]).grows, "two readings say nothing"
