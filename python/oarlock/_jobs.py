"""From what users write as jobs to tasks: indexes, msg_ids, `AsyncResult`s, or lists of these."""

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from oarlock import _oarlock
from oarlock._books import is_msg_id

if TYPE_CHECKING:
    from oarlock.client import Client


def is_future(job: object) -> bool:
    """Whether `job` tells when it is done, as an `AsyncResult` or another future does."""
    return hasattr(job, "add_done_callback")


def is_one(job: object) -> bool:
    """Whether `job` is one job rather than several."""
    return isinstance(job, int | str) or is_future(job)


def msg_ids(client: "Client", jobs: Any) -> list[str]:
    """The msg_ids of `jobs`.

    Args:
        client: Whose history indexes count in.
        jobs: An index, a msg_id, an `AsyncResult`, or an iterable of these.

    Raises:
        TypeError: For anything else.
        IndexError: For an index beyond the history.
        ValueError: For a str that is no msg_id.
    """
    return [msg_id for job in several(jobs) for msg_id in _ids_of(client, job)]


def several(jobs: Any) -> Iterable[Any]:
    """`jobs` as an iterable, also when it is one.

    Raises:
        TypeError: When it is neither a job nor an iterable that may hold jobs.
    """
    if is_one(jobs):
        return (jobs,)
    if not isinstance(jobs, Iterable) or isinstance(jobs, bytes | dict):
        raise TypeError(
            f"expected a msg_id, an index, an AsyncResult or a list of these, not {jobs!r}"
        )
    return jobs


def _ids_of(client: "Client", job: Any) -> Iterable[str]:
    if isinstance(job, int):
        return (client.history[job],)
    if isinstance(job, str):
        if not is_msg_id(job):
            raise ValueError(f"{job!r} is no msg_id; those look like {client.session}_0")
        return (job,)
    ids = getattr(job, "msg_ids", None)
    if isinstance(ids, list):
        return ids
    raise TypeError(f"expected a msg_id, an index, an AsyncResult or a list of these, not {job!r}")


def known(client: "Client", ids: Iterable[str]) -> _oarlock.Tasks:
    """The tasks of `ids` this client has records of; others are left out."""
    core = client._core
    found = (core.known(msg_id) for msg_id in ids)
    return _oarlock.Tasks.join([tasks for tasks in found if tasks is not None])


def lookup(client: "Client", ids: list[str]) -> _oarlock.Tasks:
    """All tasks of `ids`, in order: the client's own records, others watched at the controller.

    A task nobody knows ends as refused.
    """
    core = client._core
    records = {msg_id: tasks for msg_id in ids if (tasks := core.known(msg_id)) is not None}
    elsewhere = [msg_id for msg_id in dict.fromkeys(ids) if msg_id not in records]
    if elsewhere:
        watched = core.watch(elsewhere)
        records.update((msg_id, watched.pick((i,))) for i, msg_id in enumerate(elsewhere))
    return _oarlock.Tasks.join([records[msg_id] for msg_id in ids])


def wait(client: "Client", jobs: Any, timeout: float | None) -> bool:
    """Wait until all of `jobs` are done.

    Args:
        client: Whose history indexes count in.
        jobs: As for `msg_ids`; also futures of any other kind.
        timeout: Seconds, None for ever.

    Returns:
        Whether they are; ids nobody knows count as done.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    ids: list[str] = []
    for job in several(jobs):
        if is_future(job) and not isinstance(getattr(job, "msg_ids", None), list):
            if not _wait_future(job, _left(deadline)):
                return False
        elif is_future(job):
            if not job.wait(_left(deadline)):
                return False
        else:
            ids.extend(_ids_of(client, job))
    own = f"{client.session}_"
    tasks = [known(client, ids)]
    foreign = [msg_id for msg_id in ids if not msg_id.startswith(own)]
    if foreign:
        tasks.append(client._core.watch(foreign))
    return all(some.wait(_left(deadline)) for some in tasks)


def _wait_future(future: Any, timeout: float | None) -> bool:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    return done.wait(timeout)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
