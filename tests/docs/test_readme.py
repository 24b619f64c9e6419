"""What the README shows is what there is."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_first_example_runs_as_it_stands(leaks, tmp_path):
    (example,) = blocks("python")
    assert len(example.splitlines()) <= 12, "ten lines, or a little more"
    done = subprocess.run(
        [sys.executable, "-c", example],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    total, speedup, pids = done.stdout.splitlines()
    space = {}
    exec(example.partition("with oarlock")[0], space)
    assert total == str(sum(map(space["primes_below"], range(8_000, 8_100))))
    assert float(speedup) > 1, "several engines are faster than one"
    assert re.fullmatch(r"\{0: \d+, 1: \d+, 2: \d+, 3: \d+\}", pids)


def test_every_make_target_it_names_exists():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)\b", README))
    assert {"demo", "test"} <= named <= targets


def test_every_command_it_names_exists():
    commands = {line.partition("#")[0].strip() for line in "".join(blocks("sh")).splitlines()}
    ours = sorted(command for command in commands if command.startswith("oarlock "))
    assert ours
    for command in ours:
        words = [sys.executable, "-m", *command.split(), "--help"]
        subprocess.run(words, capture_output=True, timeout=20, check=True)


def test_every_file_it_links_to_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_it_fits_a_screen():
    assert len(README.splitlines()) <= 70


def test_the_continuous_check_runs_the_second_command():
    assert "exec make test" in (ROOT / ".ci" / "run").read_text()
