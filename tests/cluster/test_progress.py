"""The progress bar where people watch it: a notebook, a terminal, and where nobody does."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import termios
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
    import sys
    {before}
    import oarlock

    with oarlock.Cluster(n=1) as rc:
        result = rc.load_balanced_view().map_async(abs, range(20))
        result.wait_interactive()
        assert result.ready()
"""


def in_terminal(tmp_path: Path, before: str = "") -> str:
    """What a script shows in a terminal of its own."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).format(before=before))
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    child = subprocess.Popen(
        [sys.executable, str(script)], stdin=slave, stdout=slave, stderr=slave, close_fds=True
    )
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # the other end was closed
        pass
    finally:
        os.close(master)
    assert child.wait(30) == 0, shown.decode()
    return shown.decode()


def test_a_terminal_shows_tqdm_where_it_is_installed(tmp_path):
    pytest.importorskip("tqdm")
    shown = in_terminal(tmp_path)
    assert "abs: 100%" in shown
    assert "20/20" in shown


def test_a_terminal_shows_a_bar_without_anything_installed(tmp_path):
    shown = in_terminal(tmp_path, "sys.modules['tqdm'] = None")
    assert "abs: 100% |##############################| 20/20 tasks" in shown
    assert "\r" in shown


def test_a_pipe_gets_the_final_line_only(lview, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    lview.map_async(abs, range(5)).wait_interactive()
    (line,) = out.getvalue().splitlines()
    assert line.startswith("abs: 100%")
    assert "5/5 tasks" in line


def test_a_wait_that_runs_out_says_how_far_it_came(lview, gate, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    result = lview.apply_async(gate.hold)
    assert result.wait_interactive(timeout=0.05) is None
    assert not result.ready()
    assert "0/1 tasks" in out.getvalue()
    gate.release()
    assert result.wait(20)


@pytest.mark.keeps("the context of pyzmq")
def test_a_notebook_shows_a_widget():
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipywidgets")
    nbclient = pytest.importorskip("nbclient")
    cells = [
        "import oarlock\nrc = oarlock.Cluster(n=1).start_and_connect_sync()",
        "result = rc.load_balanced_view().map_async(abs, range(20))\nresult.wait_interactive()",
        "sum(result)",
        "rc.cluster.stop_cluster_sync()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    nbclient.NotebookClient(notebook, timeout=50, kernel_name="python3").execute()
    (bar,) = notebook.cells[1].outputs
    assert "application/vnd.jupyter.widget-view+json" in bar.data
    (value,) = notebook.cells[2].outputs
    assert value.data["text/plain"] == "190"
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    (progress,) = [
        state["state"] for state in states.values() if state["model_name"] == "IntProgressModel"
    ]
    assert progress["value"] == progress["max"] == 20
    assert progress["bar_style"] == "success"
