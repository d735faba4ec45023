"""The service without OpenTelemetry: every import of it fails.

python -m tests.integration.bare_service
"""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

MODULE = "tests.integration.bare_service"


class Missing(MetaPathFinder):
    """An import finder that hides OpenTelemetry, even if it is installed."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:  # fmt: skip  # noqa: E501, ARG002 - the interface's own
        """Raise for OpenTelemetry; leave the rest to the other finders."""
        if fullname.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(fullname)
        return None


def main() -> None:
    """Run the service without OpenTelemetry."""
    sys.meta_path.insert(0, Missing())
    from consumer.config import Settings  # noqa: PLC0415 - after the finder
    from consumer.service.app import run_service  # noqa: PLC0415 - the same

    run_service(Settings.load(os.environ), os.environ)


if __name__ == "__main__":
    main()
