"""What the load is made of.

Each step takes a `Site` and a source of chance, checks what it gets, and says how many tasks or
items that were.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from . import harm

if TYPE_CHECKING:
    import oarlock

#: Seconds that what takes a second at most may take on a busy machine.
DEADLINE = 60.0


class WrongError(AssertionError):
    """A result is not what it has to be."""


@dataclass
class Site:
    """A cluster under load. One engine is spared, so that something is always there."""

    rc: oarlock.Client
    spared: int
    harm: harm.Harm

    @property
    def view(self) -> Any:
        """Where tasks survive what is done to engines."""
        return self.rc.load_balanced_view(retries=8)


def expect(found: object, wanted: object) -> None:
    """Compare a result with what it has to be."""
    if found != wanted:
        raise WrongError(f"{str(found)[:200]} is not {str(wanted)[:200]}")


def fine(site: Site, chance: Random) -> int:
    """A map of tasks that do next to nothing, with a callback at its end."""
    count, plus = chance.randrange(1, 4000), chance.randrange(100)
    result = site.view.map_async(lambda item: item + plus, range(count), chunksize=1)
    called = threading.Event()
    result.add_done_callback(lambda _: called.set())
    expect(result.get(DEADLINE), list(range(plus, count + plus)))
    expect(called.wait(DEADLINE), True)
    return count


def chunked(site: Site, chance: Random) -> int:
    """A map in chunks, taken as values come."""
    count, size = chance.randrange(1, 50_000), chance.randrange(50, 1000)
    result = site.view.map_async(operator.neg, range(count), chunksize=size, ordered=False)
    expect(result.wait(DEADLINE), True)
    expect(sum(result), -count * (count - 1) // 2)
    return count


def lazy(site: Site, chance: Random) -> int:
    """A lazy map over a generator, left in the middle now and then."""
    count = chance.randrange(1, 400)
    endless = chance.random() < 0.5
    items = (item for item in (itertools.count() if endless else range(count)))
    ordered = chance.random() < 0.5
    values = site.view.imap(lambda item: item * item, items, ordered=ordered)
    taken = list(itertools.islice(values, count)) if endless else list(values)
    values.cancel()
    if ordered:
        expect(taken, [item * item for item in range(count)])
    expect(len(set(taken)), count)
    return count


def arrays(site: Site, chance: Random) -> int:
    """Large arrays there and back, through tasks and through a namespace."""
    from numpy import array_equal, full

    size = chance.randrange(1 << 16, 1 << 20)
    sent = [full(size, float(number)) for number in range(chance.randrange(1, 5))]
    got = site.view.map_async(lambda a: a + 1, sent, chunksize=1).get(DEADLINE)
    for number, array in enumerate(got):
        expect(array_equal(array, full(size, number + 1.0)), True)
    direct = site.rc[site.spared]
    name = f"kept_{threading.get_ident()}"
    direct.push({name: sent[0]}, block=True)
    expect(array_equal(direct.pull(name, block=True), sent[0]), True)
    direct.execute(f"del {name}", block=True)
    return len(sent) + 2


def failing(site: Site, chance: Random) -> int:
    """Tasks of which some raise."""
    count, every = chance.randrange(2, 300), chance.randrange(2, 9)

    def work(item: int) -> int:
        if item % every == 0:
            raise ValueError(item)
        return item

    result = site.view.map_async(work, range(count), chunksize=chance.choice([1, 20]))
    for item, value in enumerate(result.get(DEADLINE, return_exceptions=True)):
        expect(isinstance(value, ValueError) if item % every == 0 else value == item, True)
    try:
        result.get(DEADLINE)
    except ValueError:
        return count
    raise WrongError("a map of which tasks failed did not raise")


def speaking(site: Site, chance: Random) -> int:
    """Tasks that write."""
    count, length = chance.randrange(1, 50), chance.randrange(1, 5000)
    words = [f"{item:x}" * length for item in range(count)]
    result = site.view.map_async(print, words, chunksize=1)
    expect(result.get(DEADLINE), [None] * count)
    for said, word in zip(result.stdout, words, strict=True):
        # What an attempt wrote whose engine was killed is there too.
        expect(said.endswith(word + "\n"), True)
    return count


def cancelling(site: Site, chance: Random) -> int:
    """Tasks of which some are not wanted, before they are done or while they run."""
    from oarlock.error import TaskCancelled

    def work(item: int) -> int:
        import time

        time.sleep(0.005)
        return item

    count = chance.randrange(2, 60)
    view = site.view
    results = [view.apply_async(work, item) for item in range(count)]
    unwanted = set(chance.sample(range(count), count // 2))
    for item in unwanted:
        results[item].cancel()
    for item, result in enumerate(results):
        expect(result.wait(DEADLINE), True)
        try:
            expect(result.get(), item)
        except TaskCancelled:
            expect(item in unwanted, True)
    return count


def threads(site: Site, chance: Random) -> int:
    """Several threads that use one client."""
    count, failed = chance.randrange(10, 300), []

    def use(plus: int) -> None:
        try:
            for item in range(5):
                result = site.view.apply_async(lambda item: item + plus, item)
                expect(result.get(DEADLINE), item + plus)
            result = site.view.map_async(lambda item: item + plus, range(count))
            expect(result.get(DEADLINE), list(range(plus, plus + count)))
        except Exception as failure:  # told by the thread that waits
            failed.append(failure)

    users = [threading.Thread(target=use, args=(plus,)) for plus in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    if failed:
        raise failed[0]
    return 4 * (count + 5)


def come(**options: Any) -> oarlock.Client:
    """A client; a controller that is just being replaced is waited for."""
    import oarlock

    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return oarlock.Client(**options)
        except (FileNotFoundError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def guest(site: Site, chance: Random) -> int:
    """Another client comes, works, and goes; its results are had here too."""
    from oarlock.error import UnknownTask

    count = chance.randrange(1, 500)
    with come(directory=site.rc._core.directory) as other:
        result = other.load_balanced_view(retries=8).map_async(abs, range(-count, 0), chunksize=10)
        expect(result.get(DEADLINE), list(range(count, 0, -1)))
        # The controller keeps the latest thousand results, and other threads have made some since.
        with contextlib.suppress(UnknownTask):
            last = site.rc.get_result(result.msg_ids[-1]).get(DEADLINE)
            expect(last, result.get()[-len(last) :])
    return count


_GUEST = """
import sys, time
from benchmarks.soak.steps import come
rc = come(directory=sys.argv[1], lease=0)
result = rc.load_balanced_view().map_async(time.sleep, [0.2] * 50, chunksize=1)
print("there", flush=True)
result.get()
"""


def killed_guest(site: Site, _chance: Random) -> int:
    """A client in a process of its own that is killed with its tasks under way.

    They are cancelled, and that is kept for ten minutes, a hundred bytes for each.
    """
    command = [sys.executable, "-c", _GUEST, str(site.rc._core.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            expect(other.stdout.readline(), "there\n")
        finally:
            other.kill()
    return 0


def harmed(site: Site, chance: Random) -> int:
    """A map whose engines are killed, stopped or restarted in the middle."""
    count = chance.randrange(1000, 5000)
    result = site.view.map_async(abs, range(-count, 0), ordered=False, chunksize=1)
    values = iter(result)
    taken = list(itertools.islice(values, chance.randrange(count)))
    site.harm.strike(site, chance)
    if not result.wait(DEADLINE):
        raise WrongError("a map did not end after harm to its engines")
    taken += values
    expect(sorted(taken), list(range(1, count + 1)))
    return count


#: Every kind of step, and how often it comes among a hundred.
STEPS: dict[Callable[[Site, Random], int], int] = {
    fine: 20,
    chunked: 12,
    lazy: 12,
    arrays: 10,
    failing: 10,
    speaking: 8,
    cancelling: 8,
    threads: 6,
    guest: 8,
    killed_guest: 1,
    harmed: 5,
}
