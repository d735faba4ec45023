"""Builds the C extensions for tests: with warnings as errors, tiny segments, failing allocations.

The segments of the product's table hold about 100 entries. In tiny segments a test reaches every
path, such as a split, with few entries.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final

from dev.kafka_jars import cache_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

CONSUMER: Final = Path(__file__).parents[2] / "consumer"
TABLE: Final = CONSUMER / "pipeline" / "_compiled.c"
RECORD_READER: Final = CONSUMER / "kafka" / "client" / "_record_reader.c"
SOURCES: Final = tuple(sorted(CONSUMER.rglob("*.c")))
"""All extensions of the product."""
STRICT: Final = ("-std=c11", "-O3", "-Wall", "-Wextra", "-Werror")
TINY_SEGMENTS: Final = ("-DSEGMENT_ENTRY_BYTES=256",)
FAILING_ALLOCATIONS: Final = ("-DTEST_ALLOCATION_FAILURES", "-DSEGMENT_ENTRY_BYTES=256")
BUILD_SECONDS: Final = 120


def compilers() -> list[str]:
    """Return the compilers of this machine."""
    return [name for name in ("gcc", "clang", "clang-14") if shutil.which(name)]


def build(source: Path, compiler: str, options: Sequence[str] = ()) -> Path:
    """Return an extension, built with these options besides the strict ones."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    library = Path(mkdtemp(prefix="compiled-", dir=cache_dir())) / f"{source.stem}.so"
    headers = sysconfig.get_path("include")
    done = subprocess.run(
        [
            compiler,
            *STRICT,
            *options,
            "-shared",
            "-fPIC",
            "-isystem",
            headers,
            source,
            "-o",
            library,
        ],
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(library.parent)
        raise AssertionError(f"{compiler} fails:\n{done.stderr}")
    return library


def load(library: Path) -> ModuleType:
    """Import a built extension, without a name in `sys.modules`, and delete its file."""
    spec = importlib.util.spec_from_file_location(library.stem, library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.rmtree(library.parent)
    return module


@cache
def table_with(*options: str) -> Any:  # noqa: ANN401 - its test hooks are in no stub
    """Return the extension of the table with these options, built once by the first compiler."""
    return load(build(TABLE, compilers()[0], options))
