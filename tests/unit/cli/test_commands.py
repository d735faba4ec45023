"""Each command is found, although only its own module is imported."""

import re
import subprocess
import sys

import pytest

from consumer.cli import main
from consumer.cli.main import COMMANDS

LISTED = re.compile(r"^    ([a-z-]+)\s", re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_its_own_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command in another module than the table has would be unknown."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: checkpoint-ready {command}" in capsys.readouterr().out


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is missing in the table would appear only in the help."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert set(LISTED.findall(capsys.readouterr().out)) == set(COMMANDS)


def test_the_service_starts_without_the_jobs() -> None:
    """The imports of the jobs would delay the start of every pod."""
    program = (
        "import sys\n"
        "from consumer.cli import main\n"
        "try:\n"
        "    main(['run', '--help'])\n"
        "except SystemExit:\n"
        "    print(*sorted(name for name in sys.modules if name.startswith('consumer.jobs')))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == ""
