"""The command line: ``oarlock start``, ``oarlock engine``, ``oarlock stop``, ``oarlock status``.

Exit codes: 0 done, 1 failed, 2 wrong usage, 10 `start` found it running, 11 `stop` did not find
what it was told to stop.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from oarlock import error
from oarlock._hints import engines
from oarlock.cluster import launch, registry

_NOTHING_FOUND = 11
_START_TIMEOUT = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; None takes them from ``sys.argv``.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except registry.ClusterRunningError as failure:
        from oarlock.cluster.standalone import ALREADY_RUNS

        return _fail(failure, ALREADY_RUNS)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, RuntimeError, error.OarlockError) as failure:
        return _fail(failure, 1)


def _start(options: argparse.Namespace) -> int:
    from oarlock.cluster import standalone

    n = launch.engine_count(options.n)
    care = launch.Care(
        options.restart,
        options.suspect_after,
        options.lost_after,
        options.lease,
        options.store,
        options.store_days,
    )
    if options.connection_file is not None and options.listen is None:
        raise ValueError(
            "--connection-file is for peers over a network\n\n"
            "hint: say where they are let in, for instance --listen 10.0.0.5:0"
        )
    listen = None
    if options.listen is not None:
        listen = launch.Listen(options.listen, options.connection_file)
    if options.daemonize:
        record = standalone.detach(options.cluster_id, n, _START_TIMEOUT, care, listen)
        _describe(record, foreground=False)
    else:
        standalone.serve(options.cluster_id, n, _describe, options.log_file, care, listen)
        print("stopped", flush=True)
    return 0


def _engine(options: argparse.Namespace) -> int:
    """Become an engine; a process of its own would be one more to look after."""
    file = os.path.abspath(options.connection_file)
    command = launch.engine_command(file, f"{options.patience}")
    os.execve(command[0], command, launch.engine_environment())


def _stop(options: argparse.Namespace) -> int:
    from oarlock.cluster import standalone

    running = {record.cluster_id: record for record in registry.list_clusters()}
    headless = {record.cluster_id: record for record in registry.list_headless()}
    running = headless | running
    wanted = list(running) if options.all else options.cluster_id or ["default"]
    if options.all:
        wanted = [name for name in wanted if not running[name].embedded]
    for name in wanted:
        if name not in running:
            others = ", ".join(running) or "none"
            print(f"no cluster {name!r} runs here (running: {others})", file=sys.stderr)
    found = [running[name] for name in wanted if name in running]
    code = 0 if len(found) == len(wanted) else _NOTHING_FOUND
    if options.all and not found:
        print("no cluster runs here that could be stopped", flush=True)
    for record in found:
        gone, unwritten = standalone.stop(record)
        if unwritten:
            print(f"cluster {record.cluster_id!r}: {unwritten}", file=sys.stderr)
            code = 1
        if gone:
            print(f"cluster {record.cluster_id!r} (process {record.pid}) is stopped", flush=True)
        else:
            print(
                f"cluster {record.cluster_id!r}: process {record.pid} did not end, even killed",
                file=sys.stderr,
            )
            code = 1
    return code


def _status(options: argparse.Namespace) -> int:
    from oarlock.cluster import standalone

    headless = registry.list_headless()
    rows = [
        {
            "cluster_id": record.cluster_id,
            "pid": record.pid,
            "engines": None if record in headless else standalone.count_engines(record),
            "engines_asked_for": record.engines,
            "embedded": record.embedded,
            "headless": record in headless,
            "directory": record.directory,
            "store": record.store or None,
        }
        for record in [*registry.list_clusters(), *headless]
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print("no cluster runs; start one with `oarlock start -n 4`")
        return 0
    line = "{:<24} {:>8} {:>14}  {}"
    print(line.format("CLUSTER ID", "PID", "ENGINES", "DIRECTORY"))
    for row in rows:
        count = "does not answer" if row["engines"] is None else row["engines"]
        count = "controller died" if row["headless"] else count
        name = f"{row['cluster_id']} (embedded)" if row["embedded"] else row["cluster_id"]
        print(line.format(name, row["pid"], count, row["directory"]))
    for record in headless:
        again = registry.how_to_start(record)
        end = registry.how_to_stop(record.cluster_id)
        print(f"{record.cluster_id}: start it again with `{again}`, or end it with `{end}`")
    return 0


def _describe(record: registry.ClusterRecord, *, foreground: bool = True) -> None:
    """Say once where a cluster is, how to use it and how to end it."""
    connect = registry.how_to_connect(record.cluster_id)
    end = registry.how_to_stop(record.cluster_id)
    count = engines(record.engines)
    print(
        f"cluster {record.cluster_id!r} runs with {count} (process {record.pid})\n"
        f"  directory  {record.directory}\n"
        f"  logs       {record.log_directory}\n"
        f"  connect    {connect}\n"
        f"{_elsewhere(record)}"
        f"  stop       {'Ctrl-C here, or ' if foreground else ''}{end}",
        flush=True,
    )


def _elsewhere(record: registry.ClusterRecord) -> str:
    """How to connect from other hosts, if that is possible."""
    if not record.listen:
        return ""
    return (
        "  elsewhere  oarlock.Client(file), `oarlock engine --connection-file file`; the file is\n"
        f"             {record.connection_file}\n"
    )


def _fail(failure: Exception, code: int) -> int:
    print(f"oarlock: {failure}", file=sys.stderr)
    return code


def _count(text: str) -> int:
    try:
        return launch.engine_count(int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of engines") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= launch.LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 on")
    return seconds


def _version() -> str:
    from oarlock import _oarlock

    return f"oarlock {_oarlock.__version__}"


class _Version(argparse.Action):
    """Print the version, and load the compiled part only for that."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(_version())
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oarlock", description="Interactive parallel computing for Python."
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    start = commands.add_parser("start", help="start a cluster on this host")
    start.add_argument("-n", type=_count, help="how many engines (default: one per CPU)")
    start.add_argument("--cluster-id", default="", metavar="ID", help="a name for the cluster")
    start.add_argument("--daemonize", action="store_true", help="return when the engines are ready")
    start.add_argument(
        "--restart", action="store_true", help="replace engines that end by themselves"
    )
    start.add_argument(
        "--suspect-after",
        type=float,
        default=3.0,
        metavar="S",
        help="seconds of silence after which an engine is shown as suspect (default: 3)",
    )
    start.add_argument(
        "--lost-after",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds of silence after which an engine is given up (default: 10)",
    )
    start.add_argument(
        "--lease",
        type=float,
        default=launch.LEASE,
        metavar="S",
        help="seconds that engines and clients wait, when the controller was killed, for the same "
        f"command to be given again (default: {launch.LEASE:g})",
    )
    start.add_argument(
        "--store",
        metavar="DIRECTORY",
        help="keep queue and results there, so that they survive the cluster and its clients",
    )
    start.add_argument(
        "--store-days",
        type=float,
        default=launch.STORE_DAYS,
        metavar="N",
        help="days for which a result that nobody fetched is kept there "
        f"(default: {launch.STORE_DAYS:g})",
    )
    start.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="also let in clients and engines over the network at this interface, encrypted, with "
        "the connection file (port 0: any; default: nobody)",
    )
    start.add_argument(
        "--connection-file",
        metavar="PATH",
        help="write the connection file there, too; who can read it can run code as you",
    )
    start.add_argument("--log-file", help=argparse.SUPPRESS)
    start.set_defaults(run=_start)

    engine = commands.add_parser(
        "engine", help="be an engine of a cluster on another host, until that ends"
    )
    engine.add_argument(
        "--connection-file",
        required=True,
        metavar="PATH",
        help="a copy of the one that `oarlock start --listen` has written",
    )
    engine.add_argument(
        "--patience",
        type=_seconds,
        default=launch.PATIENCE,
        metavar="S",
        help="seconds to look for the controller when the network does not lead to it; one that is "
        "known to have ended is waited for as long as its --lease says "
        f"(default: {launch.PATIENCE:g})",
    )
    engine.set_defaults(run=_engine)

    stop = commands.add_parser("stop", help="stop a cluster and wait until it is gone")
    stop.add_argument(
        "cluster_id", nargs="*", metavar="ID", help="which (default: the one without a name)"
    )
    stop.add_argument("--all", action="store_true", help="all that were started by `oarlock start`")
    stop.set_defaults(run=_stop)

    status = commands.add_parser("status", help="show the clusters that run on this host")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status)
    return parser
