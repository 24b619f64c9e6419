"""Print what `pyproject.toml` needs to be built and used, one requirement per line.

Arguments name the extras to include. With this the virtual environment is filled once, and the
package itself is built into it separately, as often as its sources change.
"""

import sys
import tomllib
from pathlib import Path


def main(extras: list[str]) -> None:
    """Print the requirements of the build, of the package and of `extras`."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    data = tomllib.loads(text)
    project = data["project"]
    lines = [*data["build-system"]["requires"], *project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
