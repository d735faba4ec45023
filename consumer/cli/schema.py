"""The command `schema`: the wire contract as JSON Schema and AsyncAPI, for any language."""

import argparse
from pathlib import Path
from typing import Any, Final

from consumer.cli.output import EXIT_OK, write_json, write_message
from consumer.config import Settings
from consumer.contract.names import ASYNCAPI, VERSIONS
from consumer.errors import ConfigError

DEFAULT_MESSAGE: Final = "ready-event"


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    schema = commands.add_parser("schema", help="print the wire contract: JSON Schema, AsyncAPI")
    schema_actions = schema.add_subparsers(required=True, metavar="ACTION")
    export = schema_actions.add_parser(
        "export", help="print the schema of one message, or write all documents to a directory"
    )
    what = export.add_mutually_exclusive_group()
    what.add_argument(
        "--message",
        choices=(*VERSIONS, ASYNCAPI),
        default=DEFAULT_MESSAGE,
        help=f"the message to print, or {ASYNCAPI} for the whole service (default: %(default)s)",
    )
    what.add_argument(
        "--directory",
        type=Path,
        help="write all documents to files of this directory, and create it if it is missing",
    )
    export.set_defaults(command=_schema_export)


def _schema_export(settings: Settings, options: argparse.Namespace) -> int:
    # Imported here, because `run` loads no documents, and the help of all commands loads this file.
    from consumer.contract.documents import asyncapi_text, files, schema_text  # noqa: PLC0415

    if options.directory is None:
        is_asyncapi = options.message == ASYNCAPI
        write_json(asyncapi_text(settings) if is_asyncapi else schema_text(options.message))
        return EXIT_OK
    for name, text in files(settings):
        path = options.directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        except OSError as error:
            raise ConfigError(f"--directory: cannot write {path}: {error.strerror}") from error
        write_message(f"written: {path}")
    return EXIT_OK
