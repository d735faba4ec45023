"""Mutants: records made from the seeds, by their structure and by their bytes.

The same seed number always gives the same records, so every finding can be had again.
"""

import json
import random
from typing import Any, Final

from tests.builders import STRUCTURED, TIMESTAMP_MS, Record, camel
from tests.fuzz.edge_cases import HEADERS, KEYS, RUNS, VALUES, WHOLE, Header
from tests.fuzz.seeds import ALL_SEEDS, ID, Seed

IDS: Final = 40
"""Few, so that mutants meet again under one id: as duplicates and with other content."""
HUGE_BYTES: Final = 10_000_000
_HUGE_EVERY: Final = 50_000
_NAMES: Final = (
    "id",
    "object",
    "created_at",
    "createdAt",
    "step_number",
    "stepNumber",
    "metrics",
    "fine_tuning_job_id",
    "fineTuningJobId",
    "fine_tuned_model_checkpoint",
    "provider",
    "base_model",
    "baseModel",
    "uri",
    "expires_at",
    "expiresAt",
    "train_loss",
    "trainLoss",
    "step",
    "full_valid_loss",
    "data",
    "data_base64",
    "specversion",
    "schema",
    "payload",
    "traceparent",
    "new",
    "resultFiles",
    "result_files",
    "userID",
    "",
    "Id",
    "\U0001f600",
)
_MARK: Final = "@V{}@"


class Mutator:
    """An endless supply of records."""

    def __init__(self, seed: int) -> None:
        """Start from this number."""
        self._random = random.Random(seed)  # noqa: S311 - to be had again, not to be secret
        self._made = 0

    def record(self, offset: int) -> Record:
        """Return the next mutant, at this offset."""
        self._made += 1
        draw = self._random.random
        seed = ALL_SEEDS[int(draw() * len(ALL_SEEDS))]
        headers: list[Header] = list(seed.headers)
        value: bytes | None
        kind = draw()
        if self._made % _HUGE_EVERY == 0:
            value = self._huge(seed)
        elif kind < 0.02:
            value = self._pick(WHOLE)
        elif kind < 0.10:
            value = seed.text
        elif kind < 0.60:
            value = self._by_structure(seed)
        elif kind < 0.90:
            value = self._by_bytes(seed.text)
        else:
            value = self._by_bytes(self._by_structure(seed))
        if draw() < 0.15:
            self._spoil_headers(headers)
        if value is not None:
            value = value.replace(ID.encode(), b"ftckpt_%d" % int(draw() * IDS))
        key = self._pick(KEYS) if draw() < 0.5 else b"key"
        return Record(offset, TIMESTAMP_MS, key, value, headers)

    def _pick(self, choices: Any) -> Any:  # noqa: ANN401 - one of any tuple
        return choices[int(self._random.random() * len(choices))]

    def _by_structure(self, seed: Seed) -> bytes:
        """Change one to three members, then write it in one of the ways there are."""
        draw = self._random.random
        document = dict(seed.document)
        marks: list[int] = []
        for _ in range(1 + int(draw() * 3)):
            self._change(self._inner(document), marks)
        if draw() < 0.1:
            names = list(document)
            self._random.shuffle(names)
            document = {name: document[name] for name in names}
        separators = self._pick(((",", ":"), (", ", ": "), ("\r\n,\t", " : ")))
        text = json.dumps(document, ensure_ascii=draw() < 0.2, separators=separators).encode()
        for mark in marks:
            text = text.replace(b'"@V%d@"' % mark, VALUES[mark])
        if draw() < 0.1 and len(text) > 2:
            name = json.dumps(self._pick(_NAMES)).encode()
            at = text.find(b"{", int(draw() * len(text)))
            if at >= 0 and text[at + 1 : at + 2] != b"}":
                text = b"%b%b:%b,%b" % (text[: at + 1], name, self._pick(VALUES), text[at + 1 :])
        return text

    def _inner(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the document or a copy of an object in it, which takes the place of the old."""
        inner = [name for name, found in document.items() if isinstance(found, dict)]
        if not inner or self._random.random() < 0.6:
            return document
        name = self._pick(inner)
        document[name] = dict(document[name])
        return self._inner(document[name])

    def _change(self, members: dict[str, Any], marks: list[int]) -> None:
        draw = self._random.random
        name = self._pick(_NAMES) if not members or draw() < 0.4 else self._pick(list(members))
        match int(draw() * 8):
            case 0:
                members.pop(name, None)
            case 1:
                members.update(camel({name: members.get(name, 0)}) if name else {})
            case 2:
                members["nested"] = dict(members)
            case 3:
                other = self._pick(list(members)) if members else name
                members[name] = members.get(other)
            case 4:
                members[name] = draw() * 10 ** int(draw() * 40 - 20)
            case 5:
                members[f"x{int(draw() * 9)}"] = self._pick(
                    (0, 1.0, 1, 10**16, 1e16, {"aB": 0}, {"a_b": 0.0}, "\u00e9", None, [[]], "\\")
                )
            case _:
                mark = int(draw() * len(VALUES))
                marks.append(mark)
                members[name] = _MARK.format(mark)

    def _by_bytes(self, text: bytes) -> bytes:
        draw = self._random.random
        for _ in range(1 + int(draw() * 3)):
            at = int(draw() * (len(text) + 1))
            match int(draw() * 9):
                case 0 if text:
                    at %= len(text)
                    text = text[:at] + bytes([text[at] ^ (1 << int(draw() * 8))]) + text[at + 1 :]
                case 1:
                    text = text[:at]
                case 2:
                    other = self._pick(ALL_SEEDS).text
                    text = text[:at] + other[int(draw() * len(other)) :]
                case 3 | 4:
                    text = text[:at] + self._pick(RUNS) + text[at:]
                case 5:
                    text = text[:at] + self._pick(VALUES) + text[at:]
                case 6:
                    text = text[:at] + text[at + 1 + int(draw() * 12) :]
                case 7:
                    text = text[:at] + text[max(0, at - int(draw() * 60)) :]
                case _:
                    digit = b"%d" % int(draw() * 10)
                    text = text.replace(digit, b"%d" % int(draw() * 1000), 1)
        return text

    def _huge(self, seed: Seed) -> bytes:
        """Return 10 MB: of text, of numbers that grow when written again, of escapes, of depth."""
        filling: bytes = self._pick(
            (
                b'"' + b"na " * (HUGE_BYTES // 3) + b'"',
                b"[" + b"1e15," * (HUGE_BYTES // 5) + b"0]",
                b'"' + b'\\"' * (HUGE_BYTES // 2),
                b"[" * HUGE_BYTES,
                b"7" * HUGE_BYTES,
                b"[" + b"{}," * (HUGE_BYTES // 3) + b"0]",
            )
        )
        return seed.text[:-1] + b',"huge":' + filling + b"}"

    def _spoil_headers(self, headers: list[Header]) -> None:
        draw = self._random.random
        for _ in range(1 + int(draw() * 3)):
            headers.insert(int(draw() * (len(headers) + 1)), self._pick(HEADERS))
        if draw() < 0.01:
            headers *= 50
        if draw() < 0.3:
            headers[:] = [] if headers[0] == STRUCTURED else [STRUCTURED, *headers]
