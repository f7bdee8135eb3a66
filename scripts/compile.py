"""Compile the candle core with mypyc into a separate folder.

    make compile
    PYTHONPATH=.compiled tickhouse candles

The folder contains a package `topologies` that is imported before the plain one: it has the
compiled modules, and all other modules come from the plain package. It does not run if the sources
of the compiled modules have changed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from hashlib import sha256
from pathlib import Path

from app.outputs import write_atomically

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("topologies/core/candle.py", "topologies/core/window.py")
"""The modules in which most of a message's time is spent. They must not define a msgspec `Struct`,
because mypyc drops the keyword arguments of its class. Compiling prints, rollups and sums as well
made no measurable difference."""

WRITTEN = '"""Written by scripts/compile.py: '
PARENT_INIT = '''\
"""Written by scripts/compile.py: its package `core` is partly compiled, the rest is plain."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
'''
INIT = '''\
"""Written by scripts/compile.py: some modules of this package are compiled, the rest is plain."""

import sys
from hashlib import sha256
from pathlib import Path
from pkgutil import extend_path

from app.errors import TickhouseError

PYTHON = {python!r}
SOURCES = {sources!r}

__path__ = extend_path(__path__, __name__)
if sys.implementation.cache_tag != PYTHON or any(
    sha256(Path(__path__[1], name).read_bytes()).hexdigest() != digest
    for name, digest in SOURCES.items()
):
    raise TickhouseError(
        f"The compiled core in {{Path(__file__).parents[2]}} is not of the sources in "
        f"{{__path__[1]}}, or for another Python: run make compile, or take it off PYTHONPATH."
    )
'''


def what_is_missing() -> str | None:
    """Describe in a sentence what compiling needs and this machine lacks; None if nothing."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return (
            f"Compiling needs a C compiler, and there is no {compiler} (Debian: apt install gcc)."
        )
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        return (
            f"Compiling needs Python's headers, and there is no {header} (apt install python3-dev)."
        )
    return None


def is_taken(folder: Path) -> bool:
    """Return whether `folder` has a package `topologies` that this script did not write."""
    there = folder / "topologies"
    init = there / "__init__.py"
    return there.exists() and not (init.is_file() and init.read_text().startswith(WRITTEN))


def compile_into(folder: Path) -> None:
    """Compile `MODULES` into the package `topologies` in `folder`."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    os.chdir(ROOT)  # modules are named by their path from here, and mypy's settings are here
    with tempfile.TemporaryDirectory() as between:
        modules = mypycify(list(MODULES), target_dir=between, group_name="candle_core")
        build = build_ext(Distribution({"ext_modules": modules}))
        build.build_lib, build.build_temp = str(folder), between
        build.ensure_finalized()
        build.run()
    sources = {Path(name).name: sha256(Path(name).read_bytes()).hexdigest() for name in MODULES}
    init = INIT.format(python=sys.implementation.cache_tag, sources=sources)
    write_atomically(folder / "topologies" / "core" / "__init__.py", init)
    write_atomically(folder / "topologies" / "__init__.py", PARENT_INIT)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/compile.py FOLDER")
    missing = what_is_missing()
    if missing:
        sys.exit(f"error: {missing}")
    folder = Path(sys.argv[1]).resolve()
    if is_taken(folder):
        sys.exit(
            f"error: {folder / 'topologies'} holds a package of another origin, which would be "
            "overwritten. Choose another folder."
        )
    compile_into(folder)
    print(f"Compiled. To use it: PYTHONPATH={sys.argv[1]} tickhouse candles")


if __name__ == "__main__":
    main()
