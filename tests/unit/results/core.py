"""A core made of Python, whose tasks end when a test says so."""

import queue
import threading
from datetime import UTC, datetime, timedelta

from oarlock import error, serialize
from oarlock._dispatch import Dispatcher

PENDING, OK, ERROR, PARTIAL, CANCELLED, LOST, REFUSED, GONE = range(8)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Core:
    """What results ask of `_oarlock.Client`."""

    def __init__(self):
        self.closed = False
        self.away = False
        self.reason = "no such task, or its result is no longer kept"
        self.cancelled = []
        self.tokens = queue.SimpleQueue()
        self.changed = threading.Condition()
        self.notes = []
        self.kept = {}

    def next_tokens(self, timeout=None):
        token = self.tokens.get()
        return [] if token is None else [token]

    def forget_token(self, token):
        with self.changed:
            self.notes = [note for note in self.notes if note[0] != token]

    def cancel(self, tasks, force=None):
        self.cancelled.append(tasks)

    def engine_ids(self):
        return [0]

    def watch(self, msg_ids):
        return self.kept[msg_ids[0]]

    def close(self):
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.tokens.put(None)


class Record:
    def __init__(self, number, items):
        self.number, self.items, self.items_done = number, items, 0
        self.status, self.parts, self.text, self.engine = PENDING, None, {1: "", 2: ""}, None
        self.reads = 0


class Tasks:
    """What results ask of `_oarlock.Tasks`."""

    def __init__(self, core, records, order):
        self.core, self.records, self.order = core, records, order

    @classmethod
    def make(cls, core, count, items=None):
        return cls(core, [Record(i, items[i] if items else None) for i in range(count)], [])

    # --- for tests
    def end(self, index, status, value=None, engine=0):
        record = self.records[index]
        with self.core.changed:
            record.status, record.engine = status, engine
            if status == ERROR:
                record.parts = [serialize.pack_error(value, {"method": "apply"})]
            elif status in (OK, PARTIAL):
                record.parts = serialize.dumps(value)
            record.items_done = record.items or 1
            self.order.append(record)
            self.core.changed.notify_all()
            for note in list(self.core.notes):
                if note[1]():
                    self.core.notes.remove(note)
                    self.core.tokens.put(note[0])

    # --- the interface
    def __len__(self):
        return len(self.records)

    def pick(self, indexes):
        return Tasks(self.core, [self.records[i] for i in indexes], self.order)

    @staticmethod
    def join(tasks):
        return Tasks(tasks[0].core, [r for t in tasks for r in t.records], tasks[0].order)

    def msg_ids(self):
        return [f"s_{r.number}" for r in self.records]

    def done_count(self):
        return sum(r.status != PENDING for r in self.records)

    def ready(self):
        return self.done_count() == len(self)

    def status(self, index):
        return self.records[index].status

    def done_from(self, start, limit):
        run = self.records[start : start + limit]
        return next((at for at, record in enumerate(run) if not record.status), len(run))

    def statuses(self):
        return bytes(r.status for r in self.records)

    def has_failed(self):
        return any(r.status > OK for r in self.records)

    def items(self):
        return sum(r.items or 1 for r in self.records)

    def items_done(self):
        return sum(r.items_done for r in self.records)

    def item_counts(self):
        return [r.items or 1 for r in self.records] if any(r.items for r in self.records) else None

    def completion_order(self):
        return [self.records.index(r) for r in self.order if r in self.records]

    def newly_done(self, seen):
        fresh = [index for index in self.completion_order() if not seen[index]]
        for index in fresh:
            seen[index] = 1
        return fresh

    def _wait(self, done, timeout):
        with self.core.changed:
            self.core.changed.wait_for(lambda: done() or self.core.closed, timeout)
            if not done() and self.core.closed:
                raise ConnectionError("closed")
            return done()

    def wait(self, timeout=None):
        return self._wait(self.ready, timeout)

    def wait_task(self, index, timeout=None):
        return self._wait(lambda: self.status(index) != PENDING, timeout)

    def wait_count(self, count, timeout=None):
        return self._wait(lambda: self.done_count() >= count, timeout)

    def wait_failed(self, timeout=None):
        return self._wait(lambda: self.ready() or self.has_failed(), timeout)

    def notify(self, token, index=None, count=None):
        def due():
            if index is not None:
                return self.status(index) != PENDING
            return self.done_count() >= (len(self) if count is None else count)

        with self.core.changed:
            if due():
                self.core.tokens.put(token)
            else:
                self.core.notes.append((token, due))

    def parts(self, index):
        self.records[index].reads += 1
        return self.records[index].parts

    def value(self, otherwise):
        return self.values([0], otherwise)[0]

    def values(self, indexes, otherwise):
        return [otherwise for _ in indexes]

    def release(self, indexes=None):
        for index in range(len(self)) if indexes is None else indexes:
            record = self.records[index]
            if record.status != PENDING:
                record.parts = None

    def loss(self, index):
        return {
            "engine": 1, "pid": 9, "host": "box", "cause": "killed by SIGKILL",
            "started": True, "ran_for": 1.0, "output": "",
        }  # fmt: skip

    def refusal(self, index):
        return self.core.reason

    def engine(self, index):
        return self.records[index].engine

    def engines(self):
        return [r.engine for r in self.records]

    def engine_session(self, index):
        return None

    def output(self, index, stream):
        return self.records[index].text[stream]

    def output_version(self):
        return sum(len(t) for r in self.records for t in r.text.values())

    def stamps(self, index):
        record = self.records[index]
        if record.status == PENDING:
            return START, START if record.engine is not None else None, None, None
        return tuple(START + timedelta(seconds=s) for s in (0, 1, 2, 3))

    def elapsed(self):
        return 3.0

    def wall_time(self):
        return 3.0

    def serial_time(self):
        return 1.0 * len(self)


class Client:
    """What results ask of `oarlock.Client`."""

    def __init__(self):
        self._core = Core()
        self._dispatch = Dispatcher(self._core)
        self.gone = None

    @property
    def _gone(self):
        return "closed" if self.gone is not None or self._core.closed else None

    def _check(self):
        if self.gone is not None:
            raise self.gone
        if self._core.closed:
            raise error.ClosedClient("closed")


def finish(result, *values):
    for index, value in enumerate(values):
        if isinstance(value, BaseException):
            result._tasks.end(index, ERROR, value, engine=index)
        else:
            result._tasks.end(index, OK, value, engine=index)
    return result
