"""Writes JSON text with exactly the bytes that the service writes for the same value.

The service uses msgspec. Its text differs from that of the module ``json`` only in the spelling of
some floats: ``1e16`` instead of ``1e+16``, and ``0.00001`` instead of ``1e-05``.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

JsonObject = dict[str, Any]

_SMALLEST_WRITTEN_OUT: Final = -5
"""msgspec writes a float with this decimal exponent without an exponent. Python does not."""

_encode_text = json.JSONEncoder(ensure_ascii=False).encode


def encode(value: object) -> bytes:
    """Return the JSON text in UTF-8, without white space, with members in their given order.

    Raises:
        TypeError: the value is not a JSON value, or a member name is no string.
        ValueError: a number is not finite, or a string has an unpaired surrogate.
    """
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode()


def in_name_order(value: object) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the value with the members of every object in the order of their names."""
    if isinstance(value, Mapping):
        return {name: in_name_order(value[name]) for name in sorted(value)}
    if isinstance(value, list | tuple):
        return [in_name_order(item) for item in value]
    return value


def _write(value: object, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(_encode_text(value))
    elif value is None or isinstance(value, bool):
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, int):
        parts.append(int.__repr__(value))
    elif isinstance(value, float):
        parts.append(_float_text(value))
    elif isinstance(value, Mapping):
        _write_members(value, parts)
    elif isinstance(value, list | tuple):
        parts.append("[")
        for number, item in enumerate(value):
            if number:
                parts.append(",")
            _write(item, parts)
        parts.append("]")
    else:
        raise TypeError(f"{type(value).__name__} is not a type of JSON")


def _write_members(members: Mapping[Any, object], parts: list[str]) -> None:
    parts.append("{")
    for number, (name, item) in enumerate(members.items()):
        if not isinstance(name, str):
            raise TypeError(f"the member name {name!r} is no string")
        if number:
            parts.append(",")
        parts += (_encode_text(name), ":")
        _write(item, parts)
    parts.append("}")


def _float_text(number: float) -> str:
    text = float.__repr__(number)
    if text in {"inf", "-inf", "nan"}:
        raise ValueError(f"{text} is not a number of JSON")
    digits, e, exponent = text.partition("e")
    if not e:
        return text
    if int(exponent) != _SMALLEST_WRITTEN_OUT:
        return f"{digits}e{int(exponent)}"
    sign = "-" if number < 0 else ""
    return f"{sign}0.0000{digits.lstrip('-').replace('.', '')}"
