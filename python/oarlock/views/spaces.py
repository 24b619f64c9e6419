"""`NamespaceView`: what a view can do with the namespaces of engines it names one by one.

One operation is one submission whatever the number of engines: function and arguments are pickled
once and the core hands the same bytes to each. Moving data and running code are ordinary calls of
the functions in `oarlock.namespace`, so they queue in order with everything else.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from oarlock import _oarlock, namespace
from oarlock._about import About
from oarlock.result import AsyncResult
from oarlock.serialize import dumps, pack_function
from oarlock.views import chunks
from oarlock.views.base import View, claim
from oarlock.views.rules import Ruled
from oarlock.views.targets import Targets, normalise, resolve

if TYPE_CHECKING:
    from os import PathLike

    from oarlock.views.imports import ImportHook


class NamespaceView(Ruled, View):
    """Base of `DirectView`: code and data on all engines of the view."""

    flag_names: ClassVar[tuple[str, ...]] = (*View.flag_names, "timeout", "force")

    @property
    def targets(self) -> Targets:
        """``'all'``, one engine id, or a list of engine ids."""
        return self._targets

    @targets.setter
    def targets(self, targets: Any) -> None:
        self._targets = normalise(targets)

    # --- code

    def execute(
        self,
        code: str,
        silent: bool = True,
        targets: Any = None,
        block: bool | None = None,
        label: str | None = None,
    ) -> AsyncResult:
        """Run `code` in the namespace of every engine.

        Args:
            code: Python source.
            silent: Kept for compatibility; what the code prints is captured either way.
            targets: Other engines than the view's.
            block: Whether to wait, and raise what the code raised; None for the view's `block`.
            label: Stored in the metadata of each task.

        Returns:
            An `AsyncResult`, also when blocking.

        Example:
            >>> view.execute("import math; x = math.pi", block=True)
            <AsyncResult(execute): finished>
            >>> rc[0]["x"]
            3.141592653589793
        """
        if not isinstance(code, str):
            raise TypeError(f"execute takes Python source as a str, not {type(code).__name__}")
        result = self._everywhere(
            namespace.execute,
            (code,),
            {},
            self._targeted(targets),
            self._labelled(label),
            "execute",
        )
        if self.block if block is None else block:
            claim(result)
        return result

    def run(
        self,
        filename: "str | PathLike[str]",
        targets: Any = None,
        block: bool | None = None,
        label: str | None = None,
    ) -> AsyncResult:
        """`execute` the text of a local file.

        Raises:
            OSError: When the file cannot be read.
        """
        # The newline ends a last line that is a comment or part of a block.
        code = Path(filename).read_text(encoding="utf-8") + "\n"
        return self.execute(code, targets=targets, block=block, label=label)

    def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Empty the namespace of every engine.

        Returns:
            None when blocking, else an `AsyncResult`.
        """
        result = self._everywhere(
            namespace.clear, (), {}, self._targeted(targets), self.label, "clear"
        )
        if self.block if block is None else block:
            claim(result)
            return None
        return result

    # --- data

    def push(
        self,
        ns: Mapping[str, Any],
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> Any:
        """Assign names in the namespace of every engine.

        Args:
            ns: Values by name; a key may be anything that can be assigned to (``a.b``, ``x[0]``).
            targets: Other engines than the view's.
            block: Whether to wait; None for the view's `block`.
            track: Kept for compatibility.

        Returns:
            An `AsyncResult` of None for each engine, or those values when blocking.

        Raises:
            TypeError: When `ns` is no mapping of names.
        """
        if not isinstance(ns, Mapping) or not all(isinstance(key, str) for key in ns):
            raise TypeError("push takes a dict of values by name")
        result = self._everywhere(
            namespace.push, (dict(ns),), {}, self._targeted(targets), self.label, "push"
        )
        return claim(result) if (self.block if block is None else block) else result

    def update(self, ns: Mapping[str, Any]) -> Any:
        """`push` with the view's flags."""
        return self.push(ns)

    def pull(self, names: Any, targets: Any = None, block: bool | None = None) -> Any:
        """Fetch the value of names, or of any expressions, from every engine.

        Args:
            names: One expression, or a list, tuple or set of them.
            targets: Other engines than the view's.
            block: Whether to wait; None for the view's `block`.

        Returns:
            An `AsyncResult`, or when blocking its value: for each engine the object, or the list of
            objects when `names` is not a str. A missing name raises NameError.

        Raises:
            TypeError: When a name is not a str.
        """
        wanted = names if isinstance(names, str) else _names(names)
        result = self._everywhere(
            namespace.pull, (wanted,), {}, self._targeted(targets), self.label, "pull"
        )
        return claim(result) if (self.block if block is None else block) else result

    def get(self, key_s: Any) -> Any:
        """`pull` that waits."""
        return self.pull(key_s, block=True)

    def __getitem__(self, key: str) -> Any:
        """`pull` of one name, waiting."""
        if not isinstance(key, str):
            raise TypeError(
                f"a view is indexed by a name on its engines, not by {type(key).__name__}"
            )
        return self.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        """`push` of one name; waits only when `block` is set."""
        self.update({key: value})

    __iter__ = None  # else `iter(view)` would try the names 0, 1, ...

    def sync_imports(self, local: bool = True, quiet: bool = False) -> "ImportHook":
        """Context manager: what the block imports is imported on the engines too.

        Args:
            local: Must be true; the import also happens here.
            quiet: Do not print a line for each import.

        Raises:
            NotImplementedError: When `local` is false.

        Example:
            >>> with view.sync_imports():
            ...     import json
            importing on engines [0, 1]: import json
            >>> rc[0].apply_sync(lambda: json.dumps([1]))
            '[1]'
        """
        from oarlock.views.imports import ImportHook

        if not local:
            raise NotImplementedError(
                "sync_imports always imports here too; use view.execute('import ...') otherwise"
            )
        return ImportHook(self, quiet=quiet)

    @property
    def importer(self) -> "ImportHook":
        """`sync_imports` with its defaults."""
        return self.sync_imports(True)

    # --- submission

    def _everywhere(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        targets: Targets,
        label: str | None,
        fname: str | None = None,
    ) -> AsyncResult:
        client = self.client
        client._check()
        core = client._core
        engines = resolve(core, targets)
        func, body, name = pack_function(f)
        parts = dumps((args, kwargs))
        tasks = self._submit_with(
            func,
            body,
            lambda: core.submit_direct(func, _oarlock.APPLY, engines, parts, self._rules),
            label,
        )
        single = isinstance(targets, int)
        asked = targets if isinstance(targets, int) else engines
        return AsyncResult(About(client, fname or name, asked, single=single, label=label), tasks)

    def _each(
        self, f: Callable[..., Any], argument_tuples: Sequence[tuple[Any, ...]], engines: list[int]
    ) -> tuple[_oarlock.Tasks, str]:
        """Call ``f(*argument_tuples[i])`` on ``engines[i]``."""
        core = self.client._core
        func, body, name = pack_function(f)
        payloads, failed = chunks.pack_calls(argument_tuples)
        tasks = self._submit_with(
            func,
            body,
            lambda: core.submit_each(
                func, _oarlock.APPLY, engines, payloads, None, failed, self._rules
            ),
            self.label,
        )
        return tasks, name

    def _targeted(self, targets: Any) -> Targets:
        return self._targets if targets is None else normalise(targets)

    def _labelled(self, label: str | None) -> str | None:
        return self.label if label is None else label


def _names(names: Any) -> list[str]:
    if not isinstance(names, list | tuple | set | frozenset) or not all(
        isinstance(n, str) for n in names
    ):
        raise TypeError("pull takes a name or a list of names (any Python expression, as str)")
    return list(names)
