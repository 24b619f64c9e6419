"""The benchmark program gives a table whatever the systems it measures do."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*words):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--no-floors", *words]
    # A process group of its own: whatever the program does, it cannot take the tests with it.
    return subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=50, process_group=0
    )


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    before = set(sys.modules)
    from benchmarks import report, runner

    yield report, runner
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "benchmarks":
            del sys.modules[name]


def rows_of(text):
    """The cells of the first table by the title of the row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


def test_a_case_on_two_systems_gives_a_number_for_each_and_the_ratio_between_them(tmp_path):
    raw = tmp_path / "raw.json"
    done = run("--only", "roundtrip", "--systems", "oarlock,pool", "--json", str(raw))
    assert done.returncode == 0, done.stderr

    rows = rows_of(done.stdout)
    assert rows["case"] == ["oarlock", "pool"]
    ours, base = rows["round trip p50, µs"]
    assert ours.endswith("\N{MULTIPLICATION SIGN})")
    assert float(base.replace(" ", "")) > 0

    found = json.loads(raw.read_text())
    assert set(found["versions"]) == {"oarlock", "pool"}
    for system in found["systems"].values():
        assert system["roundtrip"]["failures"] == []
        values = system["roundtrip"]["values"]
        assert 0 < values["p50"][0] <= values["p99"][0]


def test_a_measurement_over_the_time_limit_is_told_and_the_next_goes_on(tmp_path):
    raw = tmp_path / "raw.json"
    done = run(
        "--only", "idle,roundtrip", "--systems", "pool", "--limit", "2.8", "--json", str(raw)
    )
    assert done.returncode == 1
    # An idle system is watched for three seconds.
    assert "- pool idle: took longer than 2.8 s" in done.stdout
    rows = rows_of(done.stdout)
    assert rows["processes"] == ["failed"]
    assert float(rows["round trip p50, µs"][0].replace(" ", "")) > 0
    assert json.loads(raw.read_text())["systems"]["pool"]["idle"]["late"]


def test_an_interrupt_ends_it_with_the_table_of_what_was_measured_until_then():
    words = ["--quick", "--no-floors", "--only", "roundtrip,idle", "--systems", "pool"]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        for line in process.stderr:
            if "idle" in line:
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    rows = rows_of(out)
    assert float(rows["round trip p50, µs"][0].replace(" ", "")) > 0
    assert rows["processes"] == ["-"]


def test_what_a_measurement_leaves_running_is_ended(tmp_path):
    # The workers of a killed process are nobody's children but the program's, which adopts them.
    script = (
        "from benchmarks import procfs, runner\n"
        "import os\n"
        "procfs.adopt_orphans()\n"
        "outcomes = runner.Outcomes()\n"
        "runner.measure(['pool', 'idle'], outcomes, 1.5)\n"
        "assert outcomes.late, outcomes\n"
        "print(procfs.descendants(os.getpid()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_an_unknown_case_is_refused_with_the_names_there_are():
    done = run("--only", "nonsense")
    assert done.returncode == 2
    assert "there is no nonsense" in done.stderr
    assert "roundtrip" in done.stderr


def test_the_tables_show_medians_ratios_dashes_failures_and_what_was_left_out(benchmarks):
    report, runner = benchmarks
    found = report.Report(
        versions={"oarlock": "1", "pool": "2", "ray": "3"},
        paces={"oarlock": 1.0, "pool": 1.0, "ray": 0.1},
        skipped={"dask": "distributed is not installed"},
        cases=["fine", "first"],
        repeat=3,
        quick=False,
        machine={"on": "a machine"},
    )
    outcomes = {
        ("oarlock", "fine"): runner.Outcomes({"rate": [300.0, 900.0, 600.0]}, 3),
        ("pool", "fine"): runner.Outcomes({"rate": [200.0, 200.0, 200.0]}, 3),
        ("ray", "fine"): runner.Outcomes({}, 3),
        ("oarlock", "first"): runner.Outcomes({"first": [2.0, 2.0, 2.0]}, 3),
        ("pool", "first"): runner.Outcomes({"first": [1.0, 1.0, 1.0]}, 3),
        ("ray", "first"): runner.Outcomes({}, 0, ["took longer than 60 s"], late=True),
    }
    found.outcomes.update(outcomes)
    medians, spread = found.markdown().split("Spread")

    rows = rows_of(medians)
    fine = next(cells for title, cells in rows.items() if title.startswith("map of 50,000"))
    times = "\N{MULTIPLICATION SIGN}"
    assert fine == [f"600 (3.00{times})", "200", "-"]
    # Less is better here, so twice the time is half as good.
    first = next(cells for title, cells in rows.items() if title.startswith("first of"))
    assert first == [f"2.00 (0.50{times})", "1.00", "failed"]
    spreads = rows_of(spread)
    assert any(cells[0] == "300 … 900" for cells in spreads.values())
    assert "- dask was left out: distributed is not installed" in spread
    assert "- ray first: took longer than 60 s" in spread
    assert "ray 0.1" in medians


def test_targets_say_what_is_wanted_and_seen_and_leave_out_what_was_not_measured(benchmarks):
    report, runner = benchmarks
    found = report.Report(
        versions={"oarlock": "1", "pool": "2", "ray": "3"},
        paces={"oarlock": 1.0, "pool": 1.0, "ray": 0.1},
        skipped={},
        cases=["fine", "bulk", "growth"],
        repeat=1,
        quick=False,
        machine={"on": "a machine"},
        core={"bytes of state per pending task, 1,000,000": 133.0},
    )
    found.outcomes.update(
        {
            ("oarlock", "fine"): runner.Outcomes({"rate": [900.0]}, 1),
            ("pool", "fine"): runner.Outcomes({"rate": [100.0]}, 1),
            ("oarlock", "bulk"): runner.Outcomes({"rate": [110.0]}, 1),
            ("pool", "bulk"): runner.Outcomes({"rate": [50.0]}, 1),
            ("ray", "bulk"): runner.Outcomes({"rate": [100.0]}, 1),
            # One of two numbers that are added is missing.
            ("oarlock", "growth"): runner.Outcomes({"client": [1.0]}, 1),
        }
    )
    rows = rows_of(found.markdown())
    times = "\N{MULTIPLICATION SIGN}"
    assert rows["fine map"] == [f"at least 8.00 {times} pool", f"9.00 {times} pool", "yes"]
    assert rows["map of 1,000,000 items"][1:] == [f"1.10 {times} the best peer", "no"]
    assert rows["reactor: state of a pending task"] == ["at most 300 bytes", "133 bytes", "yes"]
    assert "growth per 100,000 tasks" not in rows
    assert not any(title.startswith("round trip") for title in rows)


def test_a_floor_stands_beside_the_case_it_belongs_to_as_a_rate_where_that_is_a_rate(benchmarks):
    report, runner = benchmarks
    found = report.Report(
        versions={"pool": "2"},
        paces={"pool": 1.0},
        skipped={},
        cases=["roundtrip", "fine", "tail"],
        repeat=1,
        quick=False,
        machine={"on": "a machine"},
        floors=runner.Outcomes({"ping_p50": [42.0], "pickle": [2.0]}, 1),
    )
    rows = rows_of(found.markdown().partition("Floors")[0])
    assert rows["round trip p50, µs"][-1] == "42.0"
    fine = next(cells for title, cells in rows.items() if title.startswith("map of 50,000"))
    assert fine[-1] == "500 000"
    tail = next(cells for title, cells in rows.items() if title.startswith("heavy tail"))
    assert tail[-1] == ""
