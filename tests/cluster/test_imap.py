"""Lazy maps on real engines: input is read only as fast as values are taken."""

import itertools
import math

import pytest

import oarlock

from .endless import Counted


def test_endless_input_is_read_in_bounded_measure(lview):
    items = Counted()
    values = lview.imap(math.sqrt, items)
    assert 0 < items.read <= 100, "the first tasks are on their way at once"
    assert [next(values) for _ in range(500)] == [math.sqrt(i) for i in range(500)]
    assert items.read <= 600
    values.cancel()
    list(values)


def test_values_come_in_order_and_all_of_them(lview):
    assert list(lview.imap(abs, range(-300, 0))) == list(range(300, 0, -1))
    assert list(lview.imap(pow, [2, 3], itertools.repeat(2))) == [4, 9]
    assert list(lview.imap(abs, [])) == []


def test_unordered_values_come_as_they_finish(lview, gate):
    hold = gate.hold
    values = lview.imap(lambda x: hold(x) if x == 0 else x, range(20), ordered=False)
    assert sorted(next(values) for _ in range(19)) == list(range(1, 20))
    gate.release()
    assert list(values) == [0]


def test_all_engines_share_the_work_also_unordered(lview, gate):
    values = lview.imap(gate.hold, range(4), ordered=False)
    gate.wait_begun(2)
    gate.release(4)
    assert sorted(values) == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_tasks_are_unfinished_than_allowed(lview, gate, limit):
    items = Counted()
    values = lview.imap(gate.hold, items, max_outstanding=limit, ordered=False)
    assert items.read == limit
    gate.release(1)
    first = next(values)
    assert items.read <= limit + 1
    values.cancel()
    gate.release(limit)
    assert sorted([first, *values]) == list(range(items.read))


@pytest.mark.parametrize("limit", ["auto", 0, 2])
def test_a_buffer_bounds_what_was_submitted_and_not_taken(lview, limit):
    items = Counted()
    values = lview.imap(abs, items, max_outstanding=limit, buffersize=3)
    assert items.read <= 3
    for taken in range(1, 30):
        assert next(values) == taken - 1
        assert lview.wait(timeout=20)
        assert taken < items.read <= taken + 3, "one at least is under way, three at most"
    values.cancel()
    assert list(values) == list(range(29, items.read))


def test_a_buffer_is_a_number_from_1_up(lview):
    for wrong, kind in ((0, ValueError), (-1, ValueError), (2.5, TypeError), ("3", TypeError)):
        with pytest.raises(kind, match="buffersize"):
            lview.imap(abs, [1], buffersize=wrong)


def test_zero_means_no_limit(lview):
    items = iter(range(500))
    values = lview.imap(abs, items, max_outstanding=0)
    assert next(items, None) is None
    assert list(values) == list(range(500))


def test_a_slow_item_at_the_head_does_not_stop_the_others(lview, gate):
    hold = gate.hold
    values = lview.imap(lambda x: hold(x) if x == 0 else x, range(8))
    gate.wait_begun()
    assert len(lview.history) > 2
    assert lview.wait(lview.history[1:], timeout=20)
    assert not lview.wait(0, timeout=0)
    gate.release()
    assert list(values) == list(range(8))


def test_an_item_that_fails_raises_at_its_place_and_the_rest_follows(lview):
    values = lview.imap(lambda x: 6 // x, [3, 0, 2])
    assert next(values) == 2
    with pytest.raises(ZeroDivisionError):
        next(values)
    assert next(values) == 3
    with pytest.raises(StopIteration):
        next(values)
    with pytest.raises(StopIteration):
        next(values)


def test_exceptions_are_values_on_request(lview):
    values = list(lview.imap(lambda x: 6 // x, [3, 0, 2], return_exceptions=True))
    assert [values[0], values[2]] == [2, 3]
    assert isinstance(values[1], ZeroDivisionError)


def test_an_input_that_fails_raises_its_own_error_after_the_items_before_it(lview):
    def broken():
        yield from [-1, -2]
        raise OSError("the disk is gone")

    values = lview.imap(abs, broken())
    assert [next(values), next(values)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(values)
    with pytest.raises(StopIteration):
        next(values)


def test_an_item_that_cannot_be_pickled_fails_alone(lview):
    values = lview.imap(str, [1, (x for x in "a"), 3], return_exceptions=True)
    one, bad, three = values
    assert (one, three) == ("1", "3")
    assert isinstance(bad, oarlock.SerializationError)


def test_cancel_stops_reading_and_gives_what_was_submitted(lview):
    items = Counted()
    values = lview.imap(abs, items)
    assert next(values) == 0
    values.cancel()
    read = items.read
    assert list(values) == list(range(1, read))
    assert items.read == read


def test_what_makes_no_sense_is_refused_in_the_call(lview):
    with pytest.raises(TypeError, match="at least one sequence"):
        lview.imap(abs)
    for limit in (-1, "many", 1.5):
        with pytest.raises(ValueError, match="max_outstanding"):
            lview.imap(abs, [1], max_outstanding=limit)
    with pytest.raises(TypeError, match="cannot be called"):
        lview.imap(5, [1])
    assert len(lview.history) == 0


def test_two_lazy_maps_may_be_interleaved(lview):
    one, two = lview.imap(abs, range(50)), lview.imap(math.sqrt, range(50))
    pairs = list(zip(one, two, strict=True))
    assert pairs == [(i, math.sqrt(i)) for i in range(50)]


def test_functions_of_main_and_references_work_lazily_too(rc, lview, typed):
    rc[:].push({"base": 10}, block=True)
    f = typed("k = 3\ndef f(x, base): return [k + x + base for _ in 'a'][0]")["f"]
    values = lview.imap(f, range(3), itertools.repeat(oarlock.Reference("base")))
    assert list(values) == [13, 14, 15]


class Interrupted:
    """Numbers up to `count`; in each of `places` the user presses Ctrl-C before the number."""

    def __init__(self, count, places):
        self._count = count
        self._places = set(places)
        self._next = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self._next in self._places:
            self._places.remove(self._next)
            raise KeyboardInterrupt
        if self._next == self._count:
            raise StopIteration
        self._next += 1
        return self._next - 1


def through_interrupts(values):
    """All values, going on after each Ctrl-C, and how many there were."""
    got, interrupts = [], 0
    while True:
        try:
            for value in values:
                got.append(value)  # noqa: PERF402 - what came before an interrupt stays
        except KeyboardInterrupt:
            interrupts += 1
        else:
            return got, interrupts


@pytest.mark.parametrize("ordered", [True, False])
def test_a_ctrl_c_while_input_is_read_loses_no_item(lview, ordered):
    items = Interrupted(60, [25, 28, 29, 50, 60])
    values = lview.imap(abs, items, max_outstanding=10, ordered=ordered)
    got, interrupts = through_interrupts(values)
    assert interrupts == 5
    assert (got if ordered else sorted(got)) == list(range(60))
    assert len(lview.history) == 60, "none ran twice"


def test_a_ctrl_c_while_arguments_are_pickled_loses_no_item(lview):
    class Hesitant:
        interrupted = False

        def __init__(self, number):
            self.number = number

        def __reduce__(self):
            if self.number in (0, 15, 29) and not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            return int, (self.number,)

    # The first is met when the map is made, by nobody who could go on with it.
    with pytest.raises(KeyboardInterrupt):
        lview.imap(abs, [Hesitant(0)])
    values = lview.imap(abs, map(Hesitant, range(1, 30)), max_outstanding=4)
    assert through_interrupts(values) == (list(range(1, 30)), 2)


def test_a_ctrl_c_while_a_value_is_unpickled_loses_no_item(lview):
    values = lview.imap(SlowToLoad, range(3), ordered=True)
    assert through_interrupts(values) == ([0, 1, 2], 1)


class SlowToLoad:
    """Travels as a number that takes long to be made, so that the user loses patience once."""

    patience = 0

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return _load, (self.number,)


def _load(number):
    if number == 1 and SlowToLoad.patience == 0:
        SlowToLoad.patience += 1
        raise KeyboardInterrupt
    return number
