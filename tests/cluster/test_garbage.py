"""A result that nobody holds costs nothing, however it came to be forgotten."""

import gc
import threading
import weakref

import pytest

DEADLINE = 20
SIZE = 10_000
COUNT = 20_000

# What these results would take if they stayed, and what an allocator may keep of them: how many
# there are at a time depends on how fast the engines happen to be.
ALL = SIZE * COUNT
SLACK = ALL // 3


def resident():
    """Bytes of memory this process has."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def growth(forget):
    """How much memory is more after `forget` ran again and again, beyond its first times."""
    for _ in range(2):
        forget()
    gc.collect()
    before = resident()
    for _ in range(4):
        forget()
    gc.collect()
    return resident() - before


@pytest.fixture
def lview(new_client):
    """A cluster of the test's own, whose books begin empty."""
    return new_client(2).load_balanced_view()


def settled(lview):
    assert lview.client.wait(timeout=DEADLINE)


def test_dropped_maps_free_their_results(lview):
    def forget():
        lview.map_async(bytes, [SIZE] * (COUNT // 4))
        settled(lview)

    assert growth(forget) < SLACK


def test_dropped_single_results_free_their_memory(lview):
    def forget():
        for _ in range(COUNT // 4):
            lview.apply_async(bytes, SIZE)
        settled(lview)

    assert growth(forget) < SLACK


def test_results_that_were_read_and_dropped_free_their_memory(lview):
    def forget():
        assert sum(len(item) for item in lview.map_async(bytes, [SIZE] * (COUNT // 4))) == ALL // 4
        assert len(lview.map_sync(bytes, [SIZE] * 100, chunksize=10)) == 100

    assert growth(forget) < SLACK


def test_results_in_reference_cycles_free_their_memory(lview):
    def forget():
        for _ in range(50):
            result = lview.map_async(bytes, [SIZE] * (COUNT // 200))
            holder = [result]
            result.holder = holder
            holder.append(holder)
        settled(lview)
        gc.collect()

    assert growth(forget) < SLACK


def test_results_with_callbacks_free_their_memory(lview):
    def forget():
        left = threading.Semaphore(0)
        for _ in range(50):
            result = lview.map_async(bytes, [SIZE] * (COUNT // 200))
            result.add_done_callback(lambda result: left.release())
        del result
        for _ in range(50):
            assert left.acquire(timeout=DEADLINE)

    assert growth(forget) < SLACK


def test_results_dropped_before_they_arrive_free_their_memory(lview, tmp_path):
    def slow(path, size):
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)
        return bytes(size)

    turn = iter(range(100))

    def forget():
        gate = tmp_path / str(next(turn))
        lview.map_async(slow, [str(gate)] * (COUNT // 4), [SIZE] * (COUNT // 4))
        gate.touch()
        settled(lview)

    assert growth(forget) < SLACK


def test_arguments_are_freed_when_their_tasks_are_done(lview):
    def forget():
        lview.map_async(len, (bytes(SIZE) for _ in range(COUNT // 4)))
        settled(lview)

    assert growth(forget) < SLACK


def test_large_arrays_are_freed_at_both_ends(lview):
    numpy = pytest.importorskip("numpy")

    def forget():
        for _ in range(5):
            assert lview.apply_sync(numpy.negative, numpy.ones(1_000_000)).sum() == -1_000_000

    # Eight megabytes, twenty times there and back.
    assert growth(forget) < 40 * 8_000_000 // 5


def test_an_array_from_a_result_outlives_it_and_the_cluster(new_client):
    numpy = pytest.importorskip("numpy")
    client = new_client(1)
    array = client.load_balanced_view().apply_sync(numpy.arange, 1_000_000)
    client.cluster.stop_cluster_sync()
    del client
    gc.collect()
    array += 1
    assert array.sum() == 500_000_500_000


def test_engines_do_not_keep_arguments_and_results(lview):
    def memory():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    view = lview.client[:]
    lview.map_sync(len, (bytes(SIZE) for _ in range(COUNT // 4)))
    before = view.apply_sync(memory)
    for _ in range(3):
        lview.map_sync(len, (bytes(SIZE) for _ in range(COUNT // 4)))
        lview.map_sync(bytes, [SIZE] * (COUNT // 4))
    after = view.apply_sync(memory)
    assert max(b - a for a, b in zip(before, after, strict=True)) < SLACK


def test_a_dropped_result_dies_at_once_and_its_task_goes_on(lview, tmp_path):
    def touch(path):
        open(path, "w").close()

    result = lview.apply_async(touch, str(tmp_path / "done"))
    gone = weakref.ref(result)
    gc.disable()
    try:
        del result
        assert gone() is None
    finally:
        gc.enable()
    settled(lview)
    assert (tmp_path / "done").exists()


def test_a_result_of_which_every_face_was_used_can_be_collected(lview):
    def use():
        called = threading.Event()
        result = lview.map_async(divmod, [1, 2], [1, 0])
        result.add_done_callback(lambda result: called.set())
        with pytest.raises(ExceptionGroup):
            result.get(DEADLINE)
        with pytest.raises(ZeroDivisionError):
            result.split()[1].get()
        assert isinstance(result.exception(), ExceptionGroup)
        faces = repr(result), result.metadata, result.progress, result.stdout, result.elapsed
        assert faces
        assert called.wait(DEADLINE)
        return weakref.ref(result), weakref.ref(result.split()[0])

    gone, piece_gone = use()
    # The thread that called back may hold the result a moment longer.
    flushed = threading.Event()
    lview.apply_async(abs, 1).add_done_callback(lambda _: flushed.set())
    assert flushed.wait(DEADLINE)
    gc.collect()
    assert gone() is None
    assert piece_gone() is None


def test_a_result_that_is_waited_for_in_a_thread_lives_until_then(lview):
    seen = []
    thread = threading.Thread(
        target=lambda ar: seen.append(ar.get()), args=(lview.apply_async(abs, -6),)
    )
    thread.start()
    gc.collect()
    thread.join(DEADLINE)
    assert seen == [6]


def test_functions_that_are_not_used_any_more_are_forgotten(lview):
    """Each lambda with a capture of its own is another function."""

    def forget():
        for number in range(400):
            body = bytes([number % 256]) * 100_000
            lview.apply_async(lambda body=body: len(body))
        settled(lview)

    forget()
    gc.collect()
    before = resident()
    for _ in range(3):
        forget()
    # The last 64 MiB of functions are kept, in client, controller and engines.
    assert resident() - before < 3 * (64 << 20)
