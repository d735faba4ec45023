"""A coverage-guided search (atheris, libFuzzer) through the same judge.

    python -m tests.fuzz.guided --seconds 60 [--seed 1] [--corpus DIR] [--fault NAME]

Pipeline and schemas are instrumented: an input that reaches something new in them is kept and
mutated further, which goes where no list of edge_cases points. An exception that escapes, or a
disagreement with the oracle, ends the program with a traceback, the record, and exit code 77.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

import atheris

# Only what is imported in here is instrumented, so nothing before may import it.
with atheris.instrument_imports(include=["consumer.pipeline", "schemas"]):
    from consumer.pipeline.decode.checkpoint import decode
    from consumer.pipeline.records import InvalidRecord, ShardSettings

import contextlib

from tests.builders import TIMESTAMP_MS, Record, shard_settings
from tests.fuzz.edge_cases import HEADERS, KEYS, RUNS, VALUES, WHOLE, Header
from tests.fuzz.faults import Fault, place
from tests.fuzz.judge import Shard
from tests.fuzz.seeds import ALL_SEEDS, ID

MAX_VALUE_BYTES: Final = 8192
_LONGEST_WORD: Final = 60
_SETTINGS: Final = (shard_settings(), shard_settings(max_bytes=1600, dead_letter_max_bytes=6000))


def record(data: bytes) -> tuple[Record, ShardSettings]:
    """Return what an input stands for: its last bytes choose all but the value, which they end."""
    provider = atheris.FuzzedDataProvider(data)
    settings = _SETTINGS[provider.ConsumeIntInRange(0, 1)]
    headers: list[Header] = []
    for _ in range(provider.ConsumeIntInRange(0, 2)):
        at = provider.ConsumeIntInRange(0, len(HEADERS))
        if at < len(HEADERS):
            headers.append(HEADERS[at])
        else:
            headers.append(("content-type", provider.ConsumeBytes(40)))
    key = KEYS[provider.ConsumeIntInRange(0, len(KEYS) - 1)]
    value: bytes = provider.ConsumeBytes(provider.remaining_bytes())
    return Record(0, TIMESTAMP_MS, key, value or None, headers), settings


def check(data: bytes) -> None:
    """Decode the record, then decide about it twice: the second one can be no ready event."""
    first, settings = record(data)
    with contextlib.suppress(InvalidRecord):
        decode(first.value, first.headers)
    outcomes, _ = Shard(settings).judge([first, first._replace(offset=1)])
    assert outcomes["published"] == outcomes["duplicate"], outcomes


def run_guided(seconds: int, seed: int, corpus: Path) -> None:
    """Search for so long; ends the process."""
    for number, text in enumerate(_beginnings()):
        (corpus / f"seed-{number:03}").write_bytes(text)
    dictionary = corpus.parent / "dictionary"
    dictionary.write_text("".join(_words()), encoding="ascii")
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={MAX_VALUE_BYTES}",
        f"-dict={dictionary}",
        f"-artifact_prefix={corpus.parent}/",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


def _beginnings() -> list[bytes]:
    """Return the inputs of the seeds; what is read first stands last."""
    found: list[bytes] = []
    for seed in ALL_SEEDS:
        text = seed.text.replace(ID.encode(), b"ftckpt_1")
        place_of = [HEADERS.index(one) if one in HEADERS else 0 for one in seed.headers]
        choices = bytes([3, *reversed(place_of), len(place_of), 0])
        found.append(text + choices)
    return found + [whole + b"\x00\x00\x00" for whole in WHOLE if whole]


def _words() -> list[str]:
    """Return libFuzzer's dictionary: what it inserts besides what it finds by itself."""
    names = {f'"{name}":'.encode() for seed in ALL_SEEDS for name in seed.document}
    short = [word for word in (*RUNS, *VALUES, *sorted(names)) if len(word) <= _LONGEST_WORD]
    return ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in short]


def main() -> None:
    """Search, with a fault planted if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.guided",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder that keeps what was found")
    names = sorted(fault.name for fault in Fault)
    parser.add_argument("--fault", choices=names, help="plant one, and show how it is noticed")
    options = parser.parse_args()
    if options.fault:
        setattr(*place(Fault[options.fault]))
    folder = options.corpus or Path(tempfile.mkdtemp(prefix="checkpoint-ready-fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    run_guided(options.seconds, options.seed, corpus)


if __name__ == "__main__":
    main()
