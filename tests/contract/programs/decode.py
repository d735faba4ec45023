"""Decodes JSON values with generated pydantic models.

Arguments: a directory with the generated modules. Standard input has one JSON object per line:
`module`, `model` and `value`. For each line, the program writes the decoded value as JSON.
"""

import importlib
import json
import sys


def main() -> None:
    """Decode each line.

    Raises:
        ValidationError: a model refuses a value.
    """
    sys.path.insert(0, sys.argv[1])
    for line in sys.stdin:
        task = json.loads(line)
        model = getattr(importlib.import_module(task["module"]), task["model"])
        decoded = model.model_validate_json(json.dumps(task["value"]))
        print(decoded.model_dump_json(by_alias=True, exclude_unset=True))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
