"""Python in place of the compiled functions that rebuild and run code, where those are not built.

With the extension present nothing here is used, so the same tests check the real thing.
"""

import sys
import types


def make_function(code, namespace, builtins, name, closure):
    before = namespace.get("__builtins__")
    namespace["__builtins__"] = builtins
    made = types.FunctionType(code, namespace, name, None, closure)
    if before is None:
        del namespace["__builtins__"]
    else:
        namespace["__builtins__"] = before
    return made


def run_code(code, namespace):
    try:
        return eval(code, namespace)
    finally:
        namespace.pop("__builtins__", None)


def install():
    """Make `oarlock._oarlock` importable."""
    import oarlock

    try:
        from oarlock import _oarlock  # noqa: F401
    except ImportError:
        core = types.ModuleType("oarlock._oarlock")
        names = ["PENDING", "OK", "ERROR", "PARTIAL", "CANCELLED", "LOST", "REFUSED", "GONE"]
        vars(core).update({name: number for number, name in enumerate(names)})
        # Named in annotations of modules that are imported here but do not run.
        vars(core).update({name: type(name, (), {}) for name in ("Client", "Engine", "Tasks")})
        vars(core).update(APPLY=0, CHUNK=1, make_function=make_function, run_code=run_code)
        sys.modules["oarlock._oarlock"] = oarlock._oarlock = core
