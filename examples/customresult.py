"""Handle each task of a map, with its metadata, as soon as it is done.

A map is many tasks under one result. Their message ids let you follow each on its own: wait a
moment, deal with those that are done, wait again.
"""

import random
import time

import oarlock


def nap(seconds):
    """Sleep, and say so: what a task prints is kept with its result."""
    print(f"slept {seconds:.3f} s")
    time.sleep(seconds)
    return seconds


naps = [random.random() * 0.1 for _ in range(10)]

with oarlock.Cluster(n=2) as rc:
    view = rc.load_balanced_view()
    result = view.map(nap, naps, chunksize=2)

    pending = set(result.msg_ids)
    handled = 0
    while pending:
        # True when all are done; either way, see which ones are.
        rc.wait(pending, 0.02)
        done = pending - rc.outstanding
        pending -= done
        for msg_id in done:
            part = rc.get_result(msg_id)
            took = (part.completed - part.started).total_seconds()
            values = part.get()
            said = ", ".join(part.stdout.strip().split("\n"))
            print(f"engine {part.engine_id}: {len(values)} naps in {took:.3f} s ({said})")
            handled += len(values)

    print("handled", handled, "of", len(naps), "naps")
    print(f"{result.serial_time:.2f} s of sleep in {result.wall_time:.2f} s")
