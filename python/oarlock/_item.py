"""What stands for one failed item; apart from the errors, since engines need it before those."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ItemError"]


class ItemError:
    """Stands for an item that raised, in the list a chunk of items gave.

    Args:
        description: what `oarlock.error.make_remote` takes.
    """

    __slots__ = ("description",)

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description

    def __reduce__(self) -> tuple[Any, ...]:
        return ItemError, (self.description,)
