"""Four ways to iterate over a map: by engine, one call per task, several per task, unordered."""

import time

import oarlock


def slow_square(engine, x):
    """Square x, and say which engine did it."""
    time.sleep(0.01 * (x % 3))
    return engine, x * x


numbers = range(12)

with oarlock.Cluster(n=2) as rc:
    everywhere = rc[:]
    everywhere.scatter("engine_id", rc.ids, flatten=True).get()
    # A Reference travels as a name and becomes the engine's own object there.
    here = oarlock.Reference("engine_id")
    engines = [here] * len(numbers)

    # A direct view deals out equal, contiguous parts, and yields in the order of the input.
    by_engine = everywhere.map(slow_square, engines, numbers)
    print("direct view:  ", [square for _, square in by_engine])

    # A load-balanced view makes each call a task of its own, for whichever engine is free.
    view = rc.load_balanced_view()
    single = view.map(slow_square, engines, numbers)
    print("one per task: ", [square for _, square in single], len(single.msg_ids), "tasks")

    # Several calls per task: fewer messages, coarser balance.
    chunks = view.map(slow_square, engines, numbers, chunksize=5)
    print("five per task:", [square for _, square in chunks], len(chunks.msg_ids), "tasks")

    # ordered=False yields what is finished first.
    as_completed = view.map(slow_square, engines, numbers, ordered=False)
    squares = []
    for engine, square in as_completed:
        squares.append(square)
        print(f"  engine {engine} made {square}")
    print("unordered:    ", sorted(squares))
