"""The engine's side in Python: runs the tasks that the compiled core hands out.

``python -m oarlock.engine DIRECTORY`` starts one. `loop` takes tasks and reports outcomes, `task`
runs one, `known` keeps the functions, `streams` captures output, `interrupt` is Ctrl-C and
cancellation, `setup` makes the process ready.

An engine imports next to nothing before it has joined, and the rest when a task needs it: engines
start often, and a cluster is there when its engines are. So nothing here imports `typing` (with
what it needs, it takes longer than all the rest together) nor anything of the standard library
that is written in Python, unless the interpreter has loaded it anyway or a function needs it.
"""

__all__: list[str] = []
