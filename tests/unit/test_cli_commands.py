import click
import pytest
from click.testing import CliRunner

from relay.cli import COMMANDS, main


def leaves(command, path=()):
    """Yield every command that is not a group, with its path."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*path, name))


LEAVES = dict(leaves(main))


def test_the_help_names_every_command():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(f"  {name}" in result.output for name in COMMANDS)


@pytest.mark.parametrize("path", sorted({path[:-1] for path in LEAVES}), ids=" ".join)
def test_no_summary_of_a_command_is_cut_off(path):
    _, commands = CliRunner().invoke(main, [*path, "--help"], terminal_width=80).output.split("\nCommands:\n")
    assert [line for line in commands.splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_explains_itself_and_takes_the_output_option(path):
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert "--output [table|json]" in result.output


def test_an_unknown_command_is_wrong_usage():
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2


def test_the_version_is_shown():
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("relay, version ")
