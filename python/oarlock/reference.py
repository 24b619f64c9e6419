"""A name that is looked up where a task runs, not where it was submitted."""

from typing import Any

from oarlock import namespace

__all__ = ["Reference"]


class Reference:
    """Stands for an expression to be evaluated in the engine's namespace.

    It can be an argument, sit anywhere inside one, or be the function itself. The evaluation
    takes place each time a task is unpacked, so it sees what was pushed in the meantime. A
    missing name is a NameError of that task alone.

    Args:
        name: The expression, most often a plain name.

    Raises:
        TypeError: `name` is no string.

    Example:
        >>> Reference("a")
        <Reference: 'a'>
    """

    __slots__ = ("__weakref__", "name")

    name: str

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(
                f"a Reference takes the name as a str, not {type(name).__name__}\n\n"
                "hint: Reference('a') stands for the engine's own variable a"
            )
        self.name = name

    def __repr__(self) -> str:
        return f"<Reference: {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Reference) else NotImplemented

    def __hash__(self) -> int:
        return hash((Reference, self.name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Only engines can call what the name stands for."""
        raise TypeError(
            f"{self!r} has no value in this process, so it cannot be called here\n\n"
            f"hint: view.apply({self!r}, ...) calls it on the engines"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _resolve, (self.name,)


def _resolve(name: str) -> Any:
    """The value on an engine; on a client, where the name means nothing, a Reference again."""
    if namespace.current() is None:
        return Reference(name)
    return namespace.evaluate(name)
