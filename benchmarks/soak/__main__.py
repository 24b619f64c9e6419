"""``python -m benchmarks.soak``: run the load, weigh, and judge."""

from __future__ import annotations

import argparse
import random
import sys
import time

from .rig import EMBEDDED
from .watch import HungError, Rig

KINDS = (EMBEDDED, "standalone")
#: Part of the time in which caches fill, which no line is fitted to.
WARM = 1 / 3
#: What lines are fitted to.
COLUMNS = ("pss", "own", "descriptors", "threads", "segments")
#: Growth in MB per hour below which nobody need look.
SMALL = 1.0


def main() -> int:
    """Run the command line; 1 if a result was wrong or missing, or something hung."""
    options = _parser().parse_args()
    seconds = 60 * options.minutes
    every = options.every or min(60.0, max(1.0, seconds / 60))
    kinds = [options.only] if options.only else list(KINDS)
    print(f"seed {options.seed}; {options.minutes:g} min of load, weighed every {every:g} s")
    rigs: list[Rig] = []
    hung = ""
    start = time.monotonic()
    try:
        rigs += [Rig(kind, options.seed + number) for number, kind in enumerate(kinds)]
        for rig in rigs:
            rig.begin()
        print("each: MB, shared ones by share/MB of its own/descriptors/threads/segments mapped")
        start = time.monotonic()
        _run(rigs, start, seconds, every, options.controller_dies)
        for rig in rigs:
            rig.end()
    except (HungError, BrokenPipeError) as failure:
        hung = str(failure)
    finally:
        for rig in rigs:
            rig.kill()
    return _judge(rigs, WARM * seconds, hung)


def _run(rigs: list[Rig], start: float, seconds: float, every: float, dies: bool) -> None:
    while (left := start + seconds - time.monotonic()) > 0:
        turn = min(every, left)
        for rig in rigs:
            rig.load(turn)
        if dies:
            time.sleep(turn / 2)
            for rig in rigs:
                rig.replace_controller()
        for rig in rigs:
            rig.rest(turn)
        at = time.monotonic() - start
        for rig in rigs:
            rig.weigh(at)
            for failure in rig.told["failures"]:
                print(f"WRONG {rig.kind}: {failure}")
        cells = [f"{at:6.0f} s"]
        for rig in rigs:
            cells.append("{steps} steps, {tasks} tasks, {harm} harms".format(**rig.told))
            cells += [f"{role} {weight}" for role, weight in rig.readings[-1][1].items()]
        print(" | ".join(cells), flush=True)


def _judge(rigs: list[Rig], since: float, hung: str) -> int:
    print("\n| per hour | MB at the end | MB | MB of its own | descriptors | threads | segments |")
    print("|---|---|---|---|---|---|---|")
    growing = []
    for rig in rigs:
        for role in rig.roles if rig.readings else ():
            slopes = rig.slopes(role, since)
            if not slopes:
                continue
            weight = rig.readings[-1][1][role]
            told = [str(slopes[n]) for n in COLUMNS]
            print(f"| {role} | {weight.pss:.1f} | {' | '.join(told)} |")
            own = slopes["own"]
            if own.grows and own.per_hour > SMALL:
                growing.append(f"{role} by {own} MB")
    failures = [failure for rig in rigs for failure in rig.failures]
    steps = sum(rig.told["steps"] for rig in rigs)
    verdict = f"{steps} steps, {len(failures)} of them wrong"
    if hung:
        verdict += f"; HUNG: {hung}"
    # An hour's growth says little after a minute, so it is told and not judged.
    verdict += f"; grows: {', '.join(growing)}" if growing else "; no memory grows beyond chance"
    print(f"\nverdict: {verdict}", flush=True)
    return 1 if failures or hung or not steps else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: 5)")
    seed = random.randrange(10**6)
    parser.add_argument("--seed", type=int, default=seed, help="of the order of steps")
    parser.add_argument("--every", type=float, help="seconds between two looks")
    kill = "kill the controller of the standalone cluster every time, and start another"
    parser.add_argument("--controller-dies", action="store_true", help=kill)
    parser.add_argument("--only", choices=KINDS, help="one kind of cluster")
    return parser


if __name__ == "__main__":
    sys.exit(main())
