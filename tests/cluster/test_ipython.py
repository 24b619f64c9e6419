"""At the prompt of a real IPython: what is typed there runs, fails and stops as it should."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("IPython") is None, reason="IPython is not installed"
)

START = """\
import os, signal, sys, time
import oarlock
rc = oarlock.Cluster(n=2).start_and_connect_sync()
view = rc[:]
lview = rc.load_balanced_view()
"""


class Session(NamedTuple):
    """What a session wrote."""

    out: str
    err: str

    @property
    def shown(self) -> str:
        """All of it, as a person sees it."""
        return self.out + self.err

    def value(self, name: str) -> str:
        """What was printed as ``name: value``."""
        found = re.search(rf"^(?:\s*In \[\d+\]: )*{name}: (.*)$", self.out, re.MULTILINE)
        assert found, self.shown
        return found[1]


@pytest.fixture
def ipython(tmp_path, leaks):
    """Type lines at the prompt of a fresh IPython; its engines must be gone when it is."""

    def type_in(typed: str) -> Session:
        command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor"]
        command += ["--simple-prompt", "--no-confirm-exit"]
        done = subprocess.run(
            command,
            input=f"{START}{typed}\nprint('end: reached')\nexit\n",
            env={**os.environ, "IPYTHONDIR": str(tmp_path / "ipython"), "TERM": "dumb"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        session = Session(done.stdout, done.stderr)
        assert done.returncode == 0, session.shown
        assert session.value("end") == "reached"
        return session

    return type_in


def test_functions_typed_at_the_prompt_are_mapped(ipython):
    session = ipython(
        "factor = 3\n"
        "def helper(x): return factor * x\n\n"
        "def work(x): return helper(x) + 1\n\n"
        "print('first:', lview.map_sync(work, range(4)))\n"
        "def helper(x): return -x\n\n"
        "print('redefined:', lview.map_sync(work, range(4)))\n"
        "class Point:\n    def __init__(self, x): self.x = x\n\n"
        "print('class:', [p.x for p in view.map_sync(Point, range(4))])\n"
        "squares = lview.map(lambda x: x * x, range(100))\n"
        "print('sum:', sum(squares))\n"
    )
    assert session.value("first") == "[1, 4, 7, 10]"
    assert session.value("redefined") == "[1, 0, -1, -2]"
    assert session.value("class") == "[0, 1, 2, 3]"
    assert session.value("sum") == "328350"
    assert "Traceback" not in session.shown


def test_a_result_shows_its_state_and_its_names_complete(ipython):
    session = ipython(
        "result = lview.map(abs, [-1, 2])\n"
        "result.wait()\n"
        "result\n"
        "rc\n"
        "from IPython.core.completer import provisionalcompleter as quietly\n"
        "def tab(typed):\n"
        "    with quietly():\n"
        "        found = get_ipython().Completer.completions(typed, len(typed))\n"
        "        return [completion.text.lstrip('.') for completion in found]\n\n"
        "print('names:', tab('result.wa'))\n"
        "print('views:', tab('view.scat'))\n"
        "print('listed:', {'get', 'metadata', 'progress', 'msg_ids'} <= set(dir(result)))\n"
        "result?\n"
    )
    assert "<AsyncMapResult(abs): finished>" in session.out
    assert re.search(r"<oarlock\.Client \w+: 2 engines>", session.out)
    for name in ("wait", "wait_interactive", "wait_for_output", "wall_time"):
        assert f"'{name}'" in session.value("names")
    assert "scatter" in session.value("views")
    assert session.value("listed") == "True"
    assert "The result of a map." in session.out


def test_a_remote_error_shows_the_remote_traceback_and_the_session_goes_on(ipython):
    session = ipython(
        "def inner(x): return 1 / x\n\n"
        "def outer(x): return inner(x)\n\n"
        "rc[1].apply_sync(outer, 0)\n"
        "print('caught:', isinstance(sys.last_value, ZeroDivisionError), sys.last_value.engine_info"
        "['engine_id'])\n"
        "print('after:', rc[1].apply_sync(outer, 1))\n"
    )
    assert "[1:apply]" in session.shown
    assert re.search(r"in outer\b", session.shown)
    assert re.search(r"in inner\n +def inner\(x\): return 1 / x\n", session.shown)
    assert "ZeroDivisionError: division by zero" in session.shown
    assert session.value("caught") == "True 1"
    assert session.value("after") == "1.0"


def test_errors_of_several_engines_are_shown_with_each_engine(ipython):
    session = ipython(
        "view.apply_sync(lambda: 1 / 0)\n"
        "print('several:', len(sys.last_value), isinstance(sys.last_value, ExceptionGroup))\n"
    )
    for engine in (0, 1):
        assert f"[{engine}:apply]" in session.shown
    assert session.shown.count("ZeroDivisionError: division by zero") >= 2
    assert session.value("several") == "2 True"


def test_control_c_leaves_a_wait_and_the_work_goes_on(ipython):
    # The engine sends the signal, so it comes while the prompt waits for that very task.
    session = ipython(
        "def interrupt(pid):\n"
        "    time.sleep(0.3)\n"
        "    os.kill(pid, signal.SIGINT)\n"
        "    time.sleep(0.5)\n"
        "    return 'finished'\n\n"
        "result = rc[0].apply_async(interrupt, os.getpid())\n"
        "result.get()\n"
        "print('left:', sys.last_type.__name__ if hasattr(sys, 'last_type') else 'nothing raised',"
        " result.ready())\n"
        "print('value:', result.get())\n"
        "results = lview.map(interrupt, [os.getpid()])\n"
        "for value in results: print('not here')\n\n"
        "print('again:', list(results))\n"
    )
    assert session.shown.count("KeyboardInterrupt") >= 2
    assert session.value("left").endswith(" False")
    assert session.value("value") == "finished"
    assert "not here\n" not in session.out
    assert session.value("again") == "['finished']"


def test_a_script_run_from_the_prompt_maps_its_own_functions(ipython, tmp_path):
    (tmp_path / "beside.py").write_text("def triple(x):\n    return 3 * x\n")
    (tmp_path / "script.py").write_text(
        "import beside\n"
        "offset = 1\n"
        "def helper(x):\n"
        "    return beside.triple(x) + offset\n"
        "def work(x):\n"
        "    return helper(x)\n"
        "print('mapped:', lview.map_sync(work, range(3)))\n"
    )
    session = ipython(
        "%run -i script.py\n"
        "offset = 2\n"
        "print('with the new name:', lview.map_sync(work, range(3)))\n"
        "%time print('timed:', lview.map_sync(work, [5]))\n"
    )
    assert session.value("mapped") == "[1, 4, 7]"
    assert session.value("with the new name") == "[2, 5, 8]"
    assert session.value("timed") == "[17]"


def test_an_await_at_the_prompt_gives_the_value(ipython):
    session = ipython(
        "print('awaited:', await lview.apply_async(abs, -7))\n"
        "async for root in lview.map(abs, [-1]): print('item:', root)\n\n"
    )
    assert session.value("awaited") == "7"
    assert session.value("item") == "1"


def test_leaving_with_work_pending_is_quiet_and_leaves_nothing(ipython):
    session = ipython("pending = lview.map(time.sleep, [60, 60, 60])\n")
    assert "Traceback" not in session.shown
    assert "Exception ignored" not in session.shown
