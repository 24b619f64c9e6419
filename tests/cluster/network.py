"""Networks of the kernel's own for tests: a namespace *here*, others *there*, a cable to each, and
nftables that drop, reset and lose what goes through these.

Where the kernel does not let this user make them, the tests are skipped with the reason. Nothing
here touches any other network.
"""

import os
import shutil
import subprocess

import pytest

#: Where the controller listens.
HERE = "10.213.7.1"
TABLE = "oarlock_test"


class Refused(Exception):
    """A command did not do what it was to."""


def run(*command, check=True):
    """A command that is done at once."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode:
        raise Refused(f"{' '.join(command)}: {' '.join(done.stderr.split())}")


class Network:
    """A namespace `here` with a cable to each of those that are `there`."""

    def __init__(self, *there):
        stem = f"oar{os.getpid() % 100_000}"
        self.here = f"{stem}h"
        self.there = {name: f"{stem}t{number}" for number, name in enumerate(there or ["there"])}
        #: The namespaces of both ends and the device there, of each cable.
        self._ends = {
            name: ((self.here, f"cable{number}"), (space, "cable"))
            for number, (name, space) in enumerate(self.there.items())
        }

    def lay(self):
        for space in (self.here, *self.there.values()):
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        for number, ((_, near), (space, far)) in enumerate(self._ends.values()):
            run("ip", "-n", self.here, "link", "add", near, "type", "veth",
                "peer", "name", far, "netns", space)  # fmt: skip
            address = f"10.213.7.{number + 2}"
            ends = ((self.here, near, HERE, address), (space, far, address, HERE))
            for place, device, own, other in ends:
                run("ip", "-n", place, "addr", "add", own, "peer", other, "dev", device)
                run("ip", "-n", place, "link", "set", device, "up")

    def take_up(self):
        for space in (self.here, *self.there.values()):
            run("ip", "netns", "del", space, check=False)

    def inside(self, space, *command):
        return ["ip", "netns", "exec", space, *command]

    def rule(self, name, rule, ends=("here", "there")):
        """Apply a rule to what arrives by a cable at these ends, in place of another."""
        for (space, device), _ in self._chosen(name, ends):
            chain = "chain input { type filter hook input priority 0; iifname %s %s; }"
            table = f"table inet {TABLE}_{device}"
            run(*self.inside(space, "nft", f"{table} {{}}; delete {table}"), check=False)
            run(*self.inside(space, "nft", f"{table} {{ {chain % (device, rule)}; }}"))

    def cut(self, *ends, name="there"):
        """Drop what arrives by a cable, at one end or both."""
        self.rule(name, "drop", ends or ("here", "there"))

    def lose(self, percent, name="there"):
        """Lose some of what arrives, at both ends, until the cable is taken up."""
        for (space, device), _ in self._chosen(name, ("here", "there")):
            run(*self.inside(space, "iptables-legacy", "-A", "INPUT", "-i", device, "-m",
                "statistic", "--mode", "random", "--probability", f"{percent / 100}",
                "-j", "DROP"))  # fmt: skip

    def mend(self, name="there"):
        for (space, device), _ in self._chosen(name, ("here", "there")):
            table = f"delete table inet {TABLE}_{device}"
            run(*self.inside(space, "nft", table), check=False)

    def _chosen(self, name, ends):
        both = zip(self._ends[name], ("here", "there"), strict=True)
        return [(end, which) for end, which in both if which in ends]


def skip(reason):
    """Skip; or fail, where the environment says that all of this must be possible."""
    if os.environ.get("OARLOCK_NETWORK"):
        pytest.fail(reason)
    pytest.skip(reason)


def need(tools, trial):
    """Skip, with the reason, where `trial` of a network is not possible."""
    for tool in tools:
        if shutil.which(tool) is None:
            skip(f"there is no `{tool}` (Debian: iproute2, nftables, iptables)")
    network = Network()
    try:
        network.lay()
        trial(network)
    except Refused as failure:
        skip(f"it cannot be tried here: {failure}")
    finally:
        network.take_up()


def need_cuts():
    """Skip where cables cannot be cut."""
    need(("ip", "nft"), Network.cut)
