"""The command that says which ACLs a user needs."""

import argparse
from typing import Any

from consumer.cli.output import EXIT_OK, say, write_line
from consumer.config import Settings
from consumer.tools.acls import LITERAL, USES, Acl, kafka_acls_commands, needed_acls

ALL_USES = tuple(use.replace(" ", "-") for use in USES)


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
    parser = commands.add_parser("acls", help="show the ACLs that a user of the brokers needs")
    parser.add_argument(
        "uses",
        nargs="*",
        metavar="USE",
        type=_use,
        help=f"what the user is to do: {', '.join(ALL_USES)}; default: run",
    )
    parser.add_argument(
        "--principal",
        metavar="User:NAME",
        help="print the commands of kafka-acls.sh that grant them instead",
    )
    parser.add_argument("--json", action="store_true", help="one JSON line on a terminal too")
    parser.set_defaults(command=_acls)


def _use(text: str) -> str:
    if text not in ALL_USES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(ALL_USES)}")
    return text


def _acls(settings: Settings, options: argparse.Namespace) -> int:
    asked = options.uses or ["run"]
    acls = needed_acls(settings, (use for use in USES if use.replace(" ", "-") in asked))
    if options.principal:
        for command in kafka_acls_commands(settings, acls, options.principal):
            write_line(command.encode())
        return EXIT_OK
    facts = [acl._asdict() for acl in acls]
    say(facts, "\n".join(_rows(acls)), as_json=options.json)
    return EXIT_OK


def _rows(acls: list[Acl]) -> list[str]:
    named = [
        f"{acl.resource} {acl.name}{'' if acl.pattern == LITERAL else f' ({acl.pattern})'}"
        for acl in acls
    ]
    width = max(map(len, named))
    return [
        f"{name:<{width}}  {', '.join(acl.operations)}"
        + (f"  (only with {acl.only_with})" if acl.only_with else "")
        for name, acl in zip(named, acls, strict=True)
    ]
