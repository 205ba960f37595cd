"""Every command that gets the name of something that does not exist says so, and suggests what was probably meant.

It exits with 1, because it failed, or with 2 if the name belongs to a filter, which would match nothing.
"""

import json

import pytest

from tests.unit.command_tree import GOOD, LEAVES, NAMES, VALUES, arguments, names_of, wrong_name

#: All commands except `relay up`, none of whose parameters is a name.
COMMANDS = [path for path in LEAVES if path != ("up",)]
CASES = [(path, name) for path in COMMANDS for name in names_of(path)]


def test_every_command_and_every_parameter_is_known_to_these_tests():
    assert set(GOOD) == set(COMMANDS)
    parameters = {parameter.name for path in COMMANDS for parameter in LEAVES[path].params}
    assert parameters - VALUES == set(NAMES)


@pytest.mark.parametrize(("path", "name"), CASES, ids=[f"{' '.join(path)}: {name}" for path, name in CASES])
def test_of_a_name_of_what_is_not_there_the_one_that_was_meant_is_told(site, path, name):
    wrong, meant = wrong_name(site, path, name)
    result = site.cli.run(*arguments(site, path, **{name: wrong}), "--output", "json", text="a-new-secret")
    code = json.loads(result.stdout)["code"]
    assert code in {"bad_parameter", "not_found", "webhook_not_registered"}
    assert result.exit_code == (2 if code == "bad_parameter" else 1), result.output
    said = " ".join(result.stderr.split())
    assert (wrong if isinstance(wrong, str) else wrong[0]) in said
    assert f"`{meant}`" in said or not meant, said
    assert "Traceback" not in said
