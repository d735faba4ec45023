"""Freed memory is kept in the process up to a bound, and used again."""

import subprocess
import sys

import pytest

from consumer.service import _memory

MIB = 1024 * 1024
PROGRAM = """
import resource, sys
from consumer.service.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()

def transaction():
    return [f"record {number}" for number in range(200_000)], bytearray(8 * 1024 * 1024)

def nested(levels):
    # The stack of these frames is a small block from the allocator of the arenas.
    return nested(levels - 1) if levels else None

for _ in range(3):
    transaction()
    nested(500)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    nested(500)
    transaction()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    """Return the page faults of ten equal transactions, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def test_a_transaction_uses_the_memory_of_the_one_before() -> None:
    """Without this, each one gets its memory from the kernel page by page."""
    assert page_faults("keep") < page_faults("return") / 5


@pytest.mark.parametrize("arguments", [(-1, 0), (0, -1), (10_000, 0), (0, 2**40), (1,)])
def test_wrong_bounds(arguments: tuple[int, ...]) -> None:
    """The process goes on as it was."""
    with pytest.raises(ValueError, match="takes a number of arenas"):
        _memory.keep_freed_memory(*arguments)


def test_other_types() -> None:
    """They are refused too."""
    with pytest.raises(TypeError):
        _memory.keep_freed_memory("1", 1)  # type: ignore[arg-type]


def test_a_bound_of_zero_and_a_later_one() -> None:
    """The allocator is installed once, and returns what it must not keep."""
    program = (
        "from consumer.service import _memory\n"
        "for arenas in (0, 10, 0, 10): _memory.keep_freed_memory(arenas, 1 << 20)\n"
        "for _ in range(3): x = [str(n) for n in range(300_000)]; del x\n"
        "_memory.keep_freed_memory(0, 1 << 20)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
