"""Input without an end that knows how much of it was read."""


class Counted:
    """Endless numbers from 0 up; says how many were read."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.read += 1
        return self.read - 1
