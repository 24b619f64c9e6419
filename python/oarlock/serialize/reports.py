"""Descriptions of failures on an engine, where `failures` is loaded by the first that occurs.

A task may have left a process in which nothing can be loaded, without a free descriptor for
instance. Its outcome still has to be told, then with less in it.
"""

from __future__ import annotations

import _pickle as pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["describe", "pack_error"]


def describe(exc: BaseException, info: Mapping[str, Any]) -> dict[str, Any]:
    """As `failures.describe`, or type and text alone. Never raises."""
    try:
        from oarlock.serialize import failures
    except Exception:
        return {
            "ename": type(exc).__name__,
            "evalue": _text(exc),
            "traceback": "",
            "engine_info": dict(info),
            "exception": None,
            "notes": [],
        }
    return failures.describe(exc, info)


def pack_error(exc: BaseException, info: Mapping[str, Any]) -> bytes:
    """As `failures.pack_error`. Never raises."""
    return pickle.dumps(describe(exc, info), 5)


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return ""
