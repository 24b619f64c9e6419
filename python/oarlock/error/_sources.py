"""Source lines of what was typed at a prompt, for tracebacks made where that source is not known.

An engine can read the files of modules, but a cell of IPython or Jupyter exists in the client only;
the client's own `linecache` holds it under a name like ``<ipython-input-3-8f19d5b1f7c6>``.
"""

from __future__ import annotations

import linecache
import re

_FRAME = re.compile(r'( *)File "(<[^"]+>)", line (\d+), in .*')


def with_sources(text: str) -> str:
    """Put the source line below each frame of typed code that lacks it.

    Args:
        text: a traceback.

    Returns:
        The same text where this process does not know better.
    """
    if '"<' not in text:
        return text
    lines = text.split("\n")
    shown = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        shown.append(line)
        frame = _FRAME.fullmatch(line)
        if frame is None:
            continue
        indent = f"{frame[1]}  "
        source = linecache.getline(frame[2], int(frame[3])).strip()
        if source and not following.startswith(indent):
            shown.append(f"{indent}{source}")
    return "\n".join(shown)
