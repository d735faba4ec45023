"""Generates the table of ACLs in docs/operations/reference.md from ``consumer.cli.acls``.

`python -m dev.acls_table` prints the table. `python -m dev.acls_table
docs/operations/reference.md` writes it to the file.
"""

from __future__ import annotations

import msgspec

from consumer.cli.acls import PREFIXED, USES, Acl
from consumer.config import Settings
from dev.marked_table import MarkedTable, markdown

# Placeholders instead of names. The service itself would refuse them.
NAMES = msgspec.structs.replace(
    Settings.load({}),
    group_id="{GROUP_ID}",
    input_topics=("{INPUT_TOPICS}",),
    output_topic="{OUTPUT_TOPIC}",
    dead_letter_topic="{DEAD_LETTER_TOPIC}",
)


def acls_table() -> MarkedTable:
    """Return the table with one row for each resource and one column for each use."""
    columns = [list(find(NAMES)) for find in USES.values()]
    resources = dict.fromkeys(_resource(acl) for acls in columns for acl in acls)
    return MarkedTable(
        holds="acls",
        command="python -m dev.acls_table docs/operations/reference.md",
        text=markdown(
            ("Resource", *(f"`{use}`" for use in USES)),
            [(name, *(_cell(name, acls) for acls in columns)) for name in resources],
        ),
    )


def _resource(acl: Acl) -> str:
    pattern = " (prefixed)" if acl.pattern == PREFIXED else ""
    return f"{acl.resource.replace('-', ' ')} `{acl.name}`{pattern}"


def _cell(name: str, acls: list[Acl]) -> str:
    of_resource = [acl for acl in acls if _resource(acl) == name]
    return "; ".join(
        (f"with `{acl.only_with}` " if acl.only_with else "") + ", ".join(acl.operations)
        for acl in of_resource
    )


if __name__ == "__main__":
    acls_table().print_or_write()
