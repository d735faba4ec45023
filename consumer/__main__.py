"""``python -m consumer``: the same as the command ``checkpoint-ready``."""

import sys

from consumer.cli import main

sys.exit(main())
