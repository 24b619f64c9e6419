"""Functions are put once, and forgotten only when nobody uses them."""

import pytest

from oarlock._cache import FunctionCache


class Core:
    """Remembers what it was told, in order."""

    def __init__(self):
        self.told = []

    def put_function(self, func, body):
        self.told.append(("put", func))

    def forget_function(self, func):
        self.told.append(("forget", func))


@pytest.fixture
def core():
    return Core()


def use(cache, func, body=b"x"):
    cache.unpin(cache.pin(func, body))


def test_a_function_is_put_once(core):
    cache = FunctionCache(core)
    for _ in range(3):
        use(cache, b"f")
    assert core.told == [("put", b"f")]


def test_the_least_recently_used_function_is_forgotten_first(core):
    cache = FunctionCache(core, max_functions=2)
    for func in (b"f", b"g", b"f", b"h"):
        use(cache, func)
    assert core.told[-1] == ("forget", b"g")
    use(cache, b"g")
    assert core.told[-2:] == [("put", b"g"), ("forget", b"f")]


def test_a_function_in_use_is_not_forgotten(core):
    cache = FunctionCache(core, max_functions=1)
    held = cache.pin(b"f", b"x")
    use(cache, b"g")
    assert ("forget", b"f") not in core.told
    cache.unpin(held)
    use(cache, b"h")
    assert ("forget", b"f") in core.told


def test_the_size_of_all_pickles_is_bounded(core):
    cache = FunctionCache(core, max_bytes=10)
    use(cache, b"f", b"x" * 6)
    use(cache, b"g", b"x" * 4)
    assert ("forget", b"f") not in core.told
    use(cache, b"h", b"x" * 5)
    assert core.told.count(("forget", b"f")) == 1
    assert ("forget", b"g") not in core.told


def test_a_function_that_could_not_be_put_is_put_again(core):
    cache = FunctionCache(core)
    put = core.put_function
    core.put_function = lambda func, body: 1 / 0
    with pytest.raises(ZeroDivisionError):
        cache.pin(b"f", b"x")
    core.put_function = put
    use(cache, b"f")
    assert core.told == [("put", b"f")]
