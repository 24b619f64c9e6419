"""The engine's side in Python: runs the tasks that the compiled core hands out.

``python -m oarlock.engine DIRECTORY`` starts one. `loop` takes tasks and reports outcomes, `task`
runs one, `known` keeps the functions, `streams` captures output, `interrupt` is Ctrl-C and
cancellation, `setup` makes the process ready. Little is imported here, since engines start often.
"""

__all__: list[str] = []
