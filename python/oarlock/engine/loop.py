"""Takes what the controller sends, one thing after the other, until it says that this is all."""

from __future__ import annotations

import faulthandler
import sys

from oarlock import _oarlock, namespace
from oarlock.engine import setup
from oarlock.engine.interrupt import Gate
from oarlock.engine.known import KnownFunctions
from oarlock.engine.streams import TaskStream
from oarlock.engine.task import Runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["main", "serve"]


def main(directory: str, patience: float = 600.0) -> int:
    """Be an engine of the controller in `directory` until it ends.

    Args:
        directory: Where the controller's door is; or a connection file.
        patience: Seconds for which the controller of a connection file is looked for when the
            network does not lead to it.

    Returns:
        The exit status: 0, or 1 when there was no controller to serve.
    """
    if sys.__stderr__ is not None:
        faulthandler.enable(file=sys.__stderr__)
    gate = Gate()
    gate.install()
    setup.fresh_main()
    setup.prepare_path()
    try:
        engine = _oarlock.Engine.connect(directory, patience=patience)
    except OSError as reason:
        print(f"oarlock: this engine found no controller in {directory}: {reason}", file=sys.stderr)
        return 1
    gate.felt = engine.felt
    namespace.number_attempts(engine.attempt)
    out = TaskStream(engine.write, 1, sys.__stdout__)
    err = TaskStream(engine.write, 2, sys.__stderr__)
    sys.stdout, sys.stderr = out, err
    try:
        serve(engine, gate, (out, err))
    finally:
        setup.limit_exit()
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        engine.close()
    return 0


def serve(engine: Any, gate: Gate, streams: Sequence[TaskStream] = ()) -> None:
    """Do what `engine` hands out until there is no more.

    Args:
        engine: An `_oarlock.Engine`.
        gate: Keeps interrupts out of everything but the tasks.
        streams: Flushed at the end of each task, whatever the user has put in their place.
    """
    functions = KnownFunctions()
    runner = Runner(engine, functions, gate)
    calls = _oarlock.Calls(gate, runner, streams)
    # True from the moment a task is taken until its outcome is told.
    owed = False
    while True:
        try:
            thing = engine.next(calls)
            if thing is None:
                return
            if thing[0] == "task":
                owed = True
                _, name, kind, parts = thing
                del thing
                run = calls.run if kind == _oarlock.APPLY else runner.run
                status, outcome = run(name, parts)
                del parts  # large arguments should not outlive their task
                _finish(engine, streams, status, outcome)
                owed = False
                del outcome
            elif thing[0] == "func":
                calls.forget(thing[1])
                functions.put(thing[1], thing[2])
            elif thing[0] == "forget":
                calls.forget(thing[1])
                functions.forget(thing[1])
        except KeyboardInterrupt as interrupt:
            # Only a handler that a user put in place of the gate can raise it here.
            gate.open = False
            if owed:
                _finish(engine, streams, *runner.failed(interrupt))
                owed = False


def _finish(
    engine: Any, streams: Sequence[TaskStream], status: int, outcome: Sequence[Any]
) -> None:
    for stream in streams:
        stream.flush()
    engine.done(status, outcome)
