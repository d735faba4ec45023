"""Validates JSON values with the library jsonschema, formats included.

Standard input has one JSON object per line: `schema` and `value`. For each line, the program
writes a JSON list with the errors: the path of the value, and the message.
"""

import json
import sys

from jsonschema import Draft202012Validator

FORMATS = ("date-time", "uri", "uri-reference")


def main() -> None:
    """Validate each line.

    Raises:
        SystemExit: the library cannot check a format, and would accept any text.
    """
    checker = Draft202012Validator.FORMAT_CHECKER
    missing = [name for name in FORMATS if name not in checker.checkers]
    if missing:
        raise SystemExit(f"no check for the formats {missing}")
    for line in sys.stdin:
        task = json.loads(line)
        Draft202012Validator.check_schema(task["schema"])
        validator = Draft202012Validator(task["schema"], format_checker=checker)
        errors = [(one.json_path, one.message) for one in validator.iter_errors(task["value"])]
        print(json.dumps(errors))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
