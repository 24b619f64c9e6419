"""Each room of the house uses only the rooms that the table in DESIGN.md grants it.

The sources are read, not run: `use` lines and paths of Rust, `import` statements of Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUST = ROOT / "src"
PYTHON = ROOT / "python" / "oarlock"

# The only files of the controller that touch the world; all others are its pure state machine.
CONTROLLER_SHELL = {
    *("run.rs", "incoming.rs", "inbox.rs", "admit.rs", "send.rs", "losses.rs", "stop.rs"),
    *("ledger.rs", "moved.rs", "notes.rs", "inherit.rs", "keep.rs", "reopen.rs", "farewell.rs"),
    *("processes.rs", "spawn.rs", "memory_kills.rs"),
    *("embedded.rs", "standalone.rs"),
}

OPTIONAL = {"IPython", "ipywidgets", "numpy", "pandas", "rich", "tqdm"}


def granted() -> dict[str, set[str]]:
    """The column "uses" of the table of rooms."""
    text = (ROOT / "DESIGN.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    column = rows[0].index("uses")
    return {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[column])) for row in rows[2:]}


ROOMS = {room: uses for room, uses in granted().items() if "/" not in room}


def code_of(path: Path) -> str:
    """A Rust source without comments and texts."""
    text = re.sub(r"//.*", "", path.read_text())
    return re.sub(r'"(\\.|[^"\\])*"', '""', text)


def rust_files(room: str) -> list[Path]:
    """All sources of a room, its tests included."""
    return sorted((RUST / room).rglob("*.rs"))


def rooms_named_in(path: Path) -> set[str]:
    """Rooms that a Rust source names from the root of the crate."""
    code = code_of(path)
    found = set(re.findall(r"\bcrate::(\w+)", code))
    for group in re.findall(r"\bcrate::\{([^;]*)\}", code):
        found |= set(re.findall(r"\w+", group))
    # `super` as often as the file is deep leads to the root as well.
    depth = len(path.relative_to(RUST).parts) - (path.name == "mod.rs")
    found |= set(re.findall(rf"(?:\bsuper::){{{depth}}}(\w+)", code))
    return found & set(ROOMS)


def test_the_table_names_the_rooms_there_are():
    assert {path.name for path in RUST.iterdir() if path.is_dir()} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_only_what_the_table_grants(room):
    for path in rust_files(room):
        beyond = rooms_named_in(path) - ROOMS[room] - {room}
        assert not beyond, f"{path.relative_to(ROOT)} uses {sorted(beyond)}"


@pytest.mark.parametrize(
    ("crate", "home"),
    [
        ("pyo3", lambda path: path.parts[0] == "bindings"),
        ("zeromq", lambda path: path == Path("transport/zmq.rs")),
    ],
)
def test_a_crate_is_used_in_its_home_only(crate, home):
    users = [
        path.relative_to(RUST)
        for path in RUST.rglob("*.rs")
        if re.search(rf"\b{crate}::", code_of(path))
    ]
    assert users, f"{crate} is used somewhere"
    assert [str(path) for path in users if not home(path)] == []


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("clocks", r"\bInstant\b|\bSystemTime\b|\bUtc\b|\btokio::time\b"),
        ("sockets", r"\bUnixStream\b|\bUnixListener\b|\bTcp\w+\b|\bUdpSocket\b|\btokio::net\b"),
        ("files", r"\bstd::fs\b|\bFile\b|\bOpenOptions\b|\btokio::fs\b"),
        ("processes", r"\bstd::process\b|\bCommand::|\brustix::|\blibc::"),
        ("chance", r"\brand::|\bgetrandom\b|\bRandomState\b"),
        ("threads and tasks", r"\bstd::thread\b|\btokio::"),
    ],
)
def test_the_reactor_is_a_pure_state_machine(what, pattern):
    pure = [
        path
        for path in rust_files("controller")
        if path.name not in CONTROLLER_SHELL and "tests" not in path.parts
    ]
    assert len(pure) > 5
    touching = [path.name for path in pure if re.search(pattern, code_of(path))]
    assert not touching, f"these know of {what}"


@pytest.mark.parametrize(
    ("room", "pattern"),
    [
        ("wire", r"\bInstant\b|\bSystemTime\b|\btokio::|\bstd::(net|fs|process|thread)\b"),
        ("engine", r"\bUnixStream\b|\bUnixListener\b|\bTcp\w+\b|\btokio::net\b"),
        ("client", r"\bUnixStream\b|\bUnixListener\b|\bTcp\w+\b|\btokio::net\b|\bCommand\b"),
        ("store", r"\bUnixStream\b|\bUnixListener\b|\bTcp\w+\b|\btokio::|\bCommand\b|\bthread::"),
        ("bindings", r"\bUnixStream\b|\bUnixListener\b|\bTcp\w+\b|\btokio::net\b|\bcodec\b"),
    ],
)
def test_a_room_never_knows_what_is_not_its_business(room, pattern):
    touching = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in rust_files(room)
        if not path.stem.endswith("tests") and (found := re.search(pattern, code_of(path)))
    ]
    assert not touching


def test_no_listener_but_the_gate_can_be_reached_from_beyond_the_host():
    tcp = re.compile(r"\bTcp(Listener|Stream)\b|\btcp://|\bUdpSocket\b")
    files = [path for path in RUST.rglob("*.rs") if tcp.search(path.read_text())]
    transport = RUST / "transport"
    way = {transport / f"{name}.rs" for name in ("gate", "bridge", "tls", "pump")}
    tried = {transport / "tests" / f"{name}.rs" for name in ("castle", "gatecrashers", "links")}
    assert set(files) - tried == way
    bound = re.compile(r"\bTcpListener::bind\b|\bTcpSocket\b|\btcp://")
    assert [path.name for path in way if bound.search(path.read_text())] == ["gate.rs"]


# --- Python


def python_files() -> list[Path]:
    """All modules of the package."""
    return sorted(PYTHON.rglob("*.py"))


def imports(path: Path, *, at_module_level: bool = False) -> Iterator[tuple[str, str]]:
    """Module and name of each import; those for the type checker alone do not count."""
    tree = ast.parse(path.read_text())
    package = list(path.relative_to(PYTHON.parent).with_suffix("").parts)
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
        elif not (at_module_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            nodes += ast.iter_child_nodes(node)


def users_of(*modules: str) -> dict[str, set[str]]:
    """Files that import one of `modules` (or below), and what they take from there."""
    users: dict[str, set[str]] = {}
    for path in python_files():
        for module, name in imports(path):
            if any(module == wanted or module.startswith(f"{wanted}.") for wanted in modules):
                users.setdefault(str(path.relative_to(PYTHON)), set()).add(name)
    return users


def test_only_serialize_pickles():
    users = users_of("pickle", "_pickle", "cloudpickle", "marshal", "dill")
    assert any(path.startswith("serialize/") for path in users)
    # The class of an error is no pickling.
    others = {
        path
        for path, names in users.items()
        if not path.startswith("serialize/") and names != {"PicklingError"}
    }
    assert not others


def test_no_python_module_opens_sockets():
    assert not users_of("socket", "socketserver", "zmq", "ssl")


def test_only_the_cluster_starts_processes():
    users = users_of("subprocess", "multiprocessing")
    # The error that is also multiprocessing's needs its class.
    assert {path for path in users if not path.startswith("cluster/")} <= {"error/__init__.py"}


def test_optional_packages_are_never_imported_with_a_module():
    for path in python_files():
        tops = {module.partition(".")[0] for module, _ in imports(path, at_module_level=True)}
        assert not tops & OPTIONAL, path


def test_an_engine_does_not_load_the_clients_side():
    faces = ("client", "views", "result", "mapresult", "cluster", "cli", "show")
    for path in (PYTHON / "engine").glob("*.py"):
        for module, name in imports(path):
            top = (f"{module}.{name}" if module == "oarlock" else module).split(".")
            assert top[0] != "oarlock" or len(top) < 2 or top[1] not in faces, path


def test_clusters_are_known_to_those_who_start_or_find_them_only():
    users = {path for path in users_of("oarlock.cluster") if not path.startswith("cluster/")}
    assert users <= {"cli.py", "_place.py"}
