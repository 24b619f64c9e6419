"""The compiled part: messaging, pending table, clocks. Every blocking call here releases the GIL,
returns within 50 ms of a signal (raising what its handler raised), and takes seconds."""

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, final

from typing_extensions import Buffer as BytesLike
from typing_extensions import disjoint_base

__all__ = [
    "AGAIN",
    "APPLY",
    "CANCELLED",
    "CHUNK",
    "ERROR",
    "GONE",
    "LOST",
    "OK",
    "PARTIAL",
    "PENDING",
    "POISON",
    "REFUSED",
    "TIMED_OUT",
    "Buffer",
    "Calls",
    "Client",
    "Engine",
    "Log",
    "PackedCalls",
    "Switch",
    "Tasks",
    "__version__",
    "dump_call",
    "dump_plain",
    "exiting",
    "load_plain",
    "make_function",
    "run_code",
    "serve",
]

__version__: Final[str]

# How a task stands or ended; `Tasks.status` gives one of these.
PENDING: Final = 0
OK: Final = 1
ERROR: Final = 2
PARTIAL: Final = 3
CANCELLED: Final = 4
LOST: Final = 5
REFUSED: Final = 6
GONE: Final = 7  # the controller is gone or the client was closed; `refusal` says why

TIMED_OUT: Final = 8
POISON: Final = 9
AGAIN: Final = 10  # from an engine only: as ERROR, and the task may be run again

# What an engine does with the parts of a task.
APPLY: Final = 0
CHUNK: Final = 1

@final
class Buffer:
    """Bytes owned by Rust; `memoryview(buffer)` is writable and costs no copy."""
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class PackedCalls:
    """Calls on their way to `Client.submit` or `submit_each`, which take them once.

    Rows of small plain values are pickled; `rest` are the indexes of the others, to be filled in.
    """
    def __new__(cls, rows: list[tuple[Any, ...]]) -> PackedCalls: ...
    @staticmethod
    def of_items(items: list[Any]) -> PackedCalls:
        """Calls of one argument each."""
    def __len__(self) -> int: ...
    @property
    def rest(self) -> list[int]: ...
    def fill(self, payloads: Sequence[bytes | Sequence[BytesLike]]) -> None:
        """One payload for each of `rest`, in order."""

@final
class Tasks:
    """Tasks of one submission, or of several joined: their states, stamps and results.

    Indexes count from 0 in order of submission. Nothing here unpickles.
    """
    def __len__(self) -> int: ...
    def pick(self, indexes: Sequence[int]) -> Tasks:
        """The same tasks, only these, in this order (shared, not copied)."""
    @staticmethod
    def join(tasks: Sequence[Tasks]) -> Tasks: ...
    @property
    def first(self) -> int | None:
        """The number of the first one in its msg_id; None without tasks."""
    def msg_ids(self) -> list[str]:
        """``<32 hex digits of the session>_<number>`` for each task."""
    # --- state, never blocks
    def done_count(self) -> int: ...
    def ready(self) -> bool: ...
    def status(self, index: int) -> int: ...
    def done_from(self, start: int, limit: int) -> int:
        """How many from `start` on are done, up to the first that is not; at most `limit`."""
    def statuses(self) -> bytes:
        """One byte for each task."""
    def has_failed(self) -> bool:
        """True as soon as one task ended otherwise than OK."""
    def items(self) -> int:
        """Items in all tasks together (a task that is no chunk counts as one)."""
    def items_done(self) -> int:
        """Items finished, also inside chunks that still run."""
    def item_counts(self) -> list[int] | None:
        """Items per task; None when every task is one item."""
    def newly_done(self, seen: bytearray) -> list[int]:
        """Indexes of the finished tasks whose byte in `seen` is 0, first finished first; sets it.
        Places in `completion_order` may shift while tasks finish; this gives each index once."""
    def completion_order(self) -> list[int]:
        """Indexes of the finished tasks, first finished first."""
    # --- waiting; `timeout` in seconds, None for ever; False when it ran out
    def wait(self, timeout: float | None = None) -> bool:
        """Until all are done."""
    def wait_task(self, index: int, timeout: float | None = None) -> bool: ...
    def wait_count(self, count: int, timeout: float | None = None) -> bool:
        """Until at least `count` are done."""
    def wait_failed(self, timeout: float | None = None) -> bool:
        """Until all are done or one ended otherwise than OK."""
    def notify(self, token: int, index: int | None = None, count: int | None = None) -> None:
        """Put `token` into the client's `next_tokens` queue when all (or task `index`, or at
        least `count`) are done; at once when that is so already."""
    # --- outcome
    def parts(self, index: int) -> list[bytes | Buffer] | None:
        """Parts of the outcome as said at the status; None while pending or once released.
        The first part is bytes (or a Buffer if large), the others Buffers."""
    def values(self, indexes: Sequence[int], otherwise: Any) -> list[Any]:
        """Their values, where these are small and plain; `otherwise` for each that is not, or
        is no value, or not there (pending, released)."""
    def value(self, otherwise: Any) -> Any:
        """As `values`, of the first task."""
    def release(self, indexes: Sequence[int] | None = None) -> None:
        """Forget the parts (not the records) of these finished tasks, or of all, unless somebody
        holds them by a set that was not made from this one."""
    def loss(self, index: int) -> dict[str, Any]:
        """For LOST: engine, pid, host, cause, started, unknown, attempt, ran_for, output."""
    def refusal(self, index: int) -> str:
        """For REFUSED and GONE: why."""
    def engine(self, index: int) -> int | None: ...
    def engines(self) -> list[int | None]: ...
    def output(self, index: int, stream: Literal[1, 2]) -> str:
        """What the task wrote so far to stdout (1) or stderr (2)."""
    def output_version(self) -> int:
        """Grows whenever output of any task arrives."""
    # --- stamps: aware datetimes in UTC, None when not yet
    def stamps(
        self, index: int
    ) -> tuple[datetime | None, datetime | None, datetime | None, datetime | None]:
        """submitted, started, completed, received."""
    def engine_session(self, index: int) -> str | None:
        """32 hex digits naming the engine's process."""
    # --- sums in seconds
    def elapsed(self) -> float:
        """Now, or the last `received` when all are done, minus the first `submitted`."""
    def wall_time(self) -> float:
        """Last received minus first submitted; only when all are done."""
    def serial_time(self) -> float:
        """Sum of completed minus started."""

@final
class Log:
    """The tasks submitted through one view, as ranges of numbers."""
    def __new__(cls) -> Log: ...
    def add(self, tasks: Tasks) -> None:
        """Enter the tasks of one submission, whose numbers are consecutive."""
    def ranges(self) -> list[tuple[int, int]]:
        """First number, and the one after the last, of each range; the oldest may be forgotten."""
    def clear(self) -> None:
        """Forget all."""

@final
class Client:
    """One session with a controller; its I/O runs in a thread that never takes the GIL."""
    @staticmethod
    def embed(
        directory: str, restart: bool = False, patience: tuple[float, float] | None = None
    ) -> Client:
        """A client with a controller of its own in this process. The directory is made if it is not
        there and removed at the end, with all in it. Raises OSError.
        `restart`: whether engines that end by themselves are replaced. `patience`: seconds of
        silence after which an engine is suspect and lost."""
    @staticmethod
    def connect(
        directory: str,
        timeout: float = 10.0,
        lease: float | None = None,
        reconnect: float | None = None,
    ) -> Client:
        """A client of the controller that runs in `directory`, which may be a connection file; when it is gone its tasks run on for
        `lease` seconds, None for as long as they take. When the controller is killed, another is
        looked for for `reconnect` seconds, None for as long as the controller says.
        Raises ConnectionError naming the cause (nobody there, refused, wrong version)."""
    session: str
    directory: str
    embedded: bool
    controller_pid: int
    away: bool  # the controller was killed or cannot be reached, and is looked for
    closed: bool
    # --- engines
    def engines(self) -> list[tuple[int, str, int, str]]:
        """id, session, pid, host of each engine, by id."""
    def engine_ids(self) -> list[int]: ...
    def engines_version(self) -> int:
        """Grows with each change of the engines."""
    def wait_engines(self, n: int, timeout: float | None = None) -> bool: ...
    def wait_engines_change(self, version: int, timeout: float | None = None) -> bool:
        """Until engines_version() differs from `version`."""
    def wait_engines_async(self, n: int, timeout: float | None = None) -> Awaitable[bool]: ...
    def spawn(
        self, argv: list[str], count: int, env: dict[str, str], log_directory: str
    ) -> list[int]:
        """Embedded only: start `count` engine processes and watch them; the seats that they, and
        whoever replaces them, sit in."""
    def seats(self, seats: Sequence[int]) -> list[tuple[int | None, bool]]:
        """For each seat the process in it, and whether any in it has become an engine."""
    def retire(self, seats: Sequence[int]) -> None:
        """Nobody follows the processes in these seats."""
    def spawned_failures(self) -> list[str]:
        """Why spawned processes ended before they joined (cause and last output), if any did."""
    # --- submission; all return at once unless the bytes in flight exceed the bound
    def pin_function(self, func: bytes, body: bytes) -> None:
        """Have the controller know the pickle `body` under its 16-byte name until it is unpinned as
        often; later only while it is among those used last."""
    def unpin_function(self, func: bytes) -> None: ...
    def submit(
        self,
        func: bytes,
        kind: int,
        tasks: PackedCalls | Sequence[bytes | Sequence[BytesLike]],
        targets: Sequence[int] | None = None,
        items: Sequence[int] | None = None,
        failed: dict[int, bytes] | None = None,
        rules: tuple[int, float, bool] | None = None,
    ) -> Tasks:
        """Load-balanced: one task for each entry (its pickle, or pickle and buffers).
        `items`: items in each task. `failed`: outcomes of tasks that could not be made, by
        index: they end at once with ERROR and this pickle, and nothing of them is sent.
        `rules`: retries, seconds one attempt may run (0 for any time), and whether the engine may
        be ended when it takes no notice of that."""
    def submit_call(
        self,
        func: bytes,
        body: bytes,
        args: tuple[Any, ...],
        targets: Sequence[int] | None,
        log: Log,
    ) -> Tasks | None:
        """Load-balanced: one call without keywords, entered in the log; None, and nothing done,
        unless all arguments are small plain values. The function need not be pinned."""
    def submit_direct(
        self,
        func: bytes,
        kind: int,
        engines: Sequence[int],
        parts: Sequence[BytesLike],
        rules: tuple[int, float, bool] | None = None,
    ) -> Tasks:
        """The same parts on each of these engines, one task each."""
    def submit_each(
        self,
        func: bytes,
        kind: int,
        engines: Sequence[int],
        tasks: PackedCalls | Sequence[bytes | Sequence[BytesLike]],
        items: Sequence[int] | None = None,
        failed: dict[int, bytes] | None = None,
        rules: tuple[int, float, bool] | None = None,
    ) -> Tasks:
        """Task i on engine i."""
    def cancel(self, tasks: Tasks, force: float | None = None) -> None:
        """Ask that the unfinished ones never start, or are interrupted; the engine of one that
        takes no notice for `force` seconds is ended."""
    # --- tasks known here or elsewhere
    def known(self, msg_id: str) -> Tasks | None:
        """The task if this client still holds its record, as a set of one."""
    def known_ids(self) -> list[str]: ...
    def submitted_count(self) -> int:
        """Tasks submitted so far; their numbers are 0 to this minus one."""
    def outstanding(self) -> list[str]: ...
    def wait_idle(self, timeout: float | None = None) -> bool:
        """Until nothing is outstanding."""
    def watch(self, msg_ids: Sequence[str]) -> Tasks:
        """Outcomes of tasks of any session, from the controller. Unknown ones end as REFUSED.
        ValueError for something that is no msg_id."""
    def purge_local(self, msg_ids: Sequence[str] | None) -> None:
        """Drop the records of finished tasks; None for all."""
    def request(self, kind: str, argument: Any = None, timeout: float | None = None) -> Any:
        """'queue_status' -> (unassigned, [(engine, queue, tasks, completed)]), 'history' -> msg_ids,
        'purge' (msg_ids or None), 'shutdown' and 'restart' (engine ids),
        'engine_status' -> ([(engine, silent, suspect, busy, (memory, memory_limit, scarce))],
        failed starts), 'signal' ((ids, number)), 'stop',
        'engines_timeout' (seconds or None: how long tasks wait while no engine is there).
        Raises RuntimeError with the controller's reason, TimeoutError."""
    def forget_token(self, token: int) -> None:
        """Do not queue this token any more."""
    def next_tokens(self, timeout: float | None = None) -> list[int]:
        """Wait for tokens of `Tasks.notify`; empty when closed or timed out."""
    def close(self) -> None:
        """Say goodbye; ends the engines of an embedded controller. Pending waits raise
        ConnectionError. Idempotent."""

@final
class Engine:
    """The engine's side, used by `oarlock.engine` only."""
    @staticmethod
    def connect(directory: str, timeout: float = 10.0, patience: float = 600.0) -> Engine: ...
    id: int
    def next(self, calls: Calls | None = None) -> tuple[Any, ...] | None:
        """The next thing to do: ``("func", func, body)``, ``("forget", func)``,
        ``("task", func, kind, parts)``; None when the engine is to end. A task counts as
        started when it is returned. KeyboardInterrupt is swallowed while idle. With `calls`,
        tasks that are one call are run inside and not returned."""
    def done(self, status: int, parts: Sequence[BytesLike]) -> None:
        """The outcome of the task `next` gave: OK, ERROR, PARTIAL or CANCELLED."""
    def write(self, stream: Literal[1, 2], text: str) -> bool:
        """Output of the running task; False when none runs."""
    def progress(self, items: int) -> None:
        """Items of the running chunk that are done."""
    def felt(self) -> None:
        """The running task has felt an interrupt: it need not be sent again."""
    def attempt(self) -> int:
        """Which attempt to run it the running task is, from 1; 0 while nothing runs."""
    def cancelled(self) -> bool:
        """Whether the running task was asked to stop."""
    def close(self) -> None:
        """Flush what is queued and say goodbye."""

@disjoint_base
class Switch:
    """Whether an interrupt may be raised now; what `oarlock.engine.interrupt.Gate` is made of."""

    open: bool
    missed: bool

@final
class Calls:
    """Runs tasks that are one call each, small plain values without any Python in between.

    `runner` is an `oarlock.engine.task.Runner`; a stream is flushed if it has something `held`.
    """
    def __new__(cls, gate: Switch, runner: Any, streams: Sequence[Any]) -> Calls: ...
    def run(self, func: bytes, parts: Sequence[BytesLike]) -> tuple[int, list[bytes | Buffer]]:
        """Run one; status and parts for `Engine.done`."""
    def flush(self) -> None:
        """Flush the streams that hold something."""
    def forget(self, func: bytes) -> None:
        """Ask `runner` for this function again."""

def dump_call(args: tuple[Any, ...]) -> bytes | None:
    """The pickle of ``(args, {})`` where all are small plain values; None for any other."""

def dump_plain(value: Any) -> bytes | None:
    """The pickle of a small plain value; None for any other."""

def load_plain(pickle: bytes) -> tuple[Any] | None:
    """The small plain value of this pickle; None if it is of something else."""

def exiting() -> None:
    """The interpreter is about to end: other threads that wait here never come back to it."""

def serve(
    directory: str,
    argv: list[str],
    count: int,
    env: dict[str, str],
    log_directory: str,
    restart: bool = False,
    patience: tuple[float, float] | None = None,
    lease: float = 0.0,
    store: tuple[str, float] | None = None,
    listen: tuple[str, str, list[str]] | None = None,
    last_words: list[str] | None = None,
) -> None:
    """Run a controller in `directory` with `count` engines started as `argv` until it is stopped
    by a client, SIGTERM or SIGINT; if it is killed, engines and clients look for another there for
    `lease` seconds. `store` is the directory where its queue and its results survive it, and the
    days for which it keeps results that nobody fetched. `listen` is HOST:PORT for peers over a
    network, the cluster's name, and where the connection file is written besides
    ``connection.json`` in `directory`. What could not be written into the store at the end is
    appended to `last_words`. Raises OSError when one already runs there, the store cannot be opened,
    or nobody can listen there."""

def run_code(code: Any, namespace: dict[str, Any]) -> Any:
    """Run a code object in `namespace` without leaving `__builtins__` in it."""

def make_function(
    code: Any, namespace: dict[str, Any], builtins: dict[str, Any], name: str, closure: Any
) -> Any:
    """A function whose globals are `namespace` and whose builtins are `builtins`; atomic under
    the GIL, and `namespace` is left without a `__builtins__` key of ours."""
