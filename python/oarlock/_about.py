"""What the results of one kind of call have in common.

A user may hold a hundred thousand results of the same call, so each refers to one of these instead
of having it all itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oarlock.client import Client


class About:
    """What was asked for; never changed.

    Attributes:
        client: Whose tasks they are.
        fname: What runs, for people.
        targets: The engines asked for; None if the controller chooses.
        single: One task whose value is given bare.
        label: The user's name for it.
        return_exceptions: Give failures as values.
    """

    __slots__ = ("client", "fname", "label", "return_exceptions", "single", "targets")

    def __init__(
        self,
        client: Client,
        fname: str = "unknown",
        targets: int | Sequence[int] | None = None,
        *,
        single: bool = False,
        label: str | None = None,
        return_exceptions: bool = False,
    ) -> None:
        self.client = client
        self.fname = fname
        self.targets = targets
        self.single = single
        self.label = label
        self.return_exceptions = return_exceptions
