import re

from dotenv import dotenv_values

from relay.settings import Settings
from relay.vault import Vault


def test_settings_say_what_is_kept_for_how_long(cli):
    environ = cli.environ | {"RELAY_RETENTION": "7d", "RELAY_PAYLOAD_RETENTION": "36h"}
    shown = cli.run("settings", environ=environ).stdout
    assert re.search(r"answered under 400\s+7 days\s+1\.5 days\s+RELAY_RETENTION", shown)
    assert re.search(r"ended in error\s+90 days\s+1\.5 days\s+RELAY_FAILED_RETENTION", shown)
    assert re.search(r"rejected or cancelled\s+30 days\s+30 days", cli.run("settings").stdout)


def test_settings_without_a_relay_are_listed_without_values(cli):
    result = cli.run("settings", environ={"RELAY_REDIS_URL": None})
    assert result.exit_code == 0
    assert "RELAY_RETENTION" in result.stdout
    assert "No values are shown" in result.stderr


def test_every_setting_has_its_value_its_default_and_its_words_on_lines_of_80_columns(cli):
    environ = cli.environ | {"RELAY_DEFAULT_WAIT": "7", "RELAY_EGRESS_ALLOW": "10.0.0.0/8", "RELAY_PLUGIN": "shop"}
    shown = cli.run("settings", environ=environ).stdout
    assert max(map(len, shown.splitlines())) <= 80
    told = {each["name"]: each for each in cli.json("settings")}
    pairs = dict(re.findall(r"^(RELAY_\w+)(.*)\n    .", shown, re.MULTILINE))
    assert pairs.keys() == told.keys()
    assert all(f"\n    {each['description']}\n" in shown for each in told.values())
    assert pairs["RELAY_DEFAULT_WAIT"] == " = 7 (default 30)"
    assert pairs["RELAY_LEASE_MARGIN"] == " = 10 (the default)"
    assert pairs["RELAY_EGRESS_ALLOW"] == " = 10.0.0.0/8"
    assert pairs["RELAY_EGRESS_DENY"] == " (not set)"
    assert pairs["RELAY_TARGET_KEYS"] == " = ***"


def test_a_new_relay_env_is_complete_private_and_never_replaced(cli, tmp_path):
    directory = tmp_path / "new" / "relay"
    said = cli.json("--data-dir", str(directory), "settings", "init", "--redis-url", "redis://127.0.0.1:6380/1")
    file = directory / "relay.env"
    assert said == {
        "file": str(file),
        "made": ["RELAY_REDIS_URL", "RELAY_TARGET_KEYS", "RELAY_DATA_KEYS", "RELAY_AUDIT_KEY", "RELAY_FLOWER_AUTH"],
    }
    assert (file.stat().st_mode & 0o777, directory.stat().st_mode & 0o777) == (0o600, 0o700)
    text = file.read_text()
    assert text.endswith("\n"), "a line that is added to it is a line of its own"
    named = re.findall(r"^#?(RELAY_\w+)=", text, re.MULTILINE)
    assert named == [about.name for _, about in Settings.described()]
    given = {name: value for name, value in dotenv_values(file).items() if value}
    assert sorted(given) == sorted(said["made"])
    found = Settings.from_environ(given)
    assert found.redis_url.reveal() == "redis://127.0.0.1:6380/1"
    assert Vault.from_text(found.target_keys.reveal()).key_ids != Vault.from_text(found.data_keys.reveal()).key_ids
    refused = cli.json("--data-dir", str(directory), "settings", "init", exit_code=1)
    assert (refused["code"], file.read_text()) == ("conflict", text)


def test_a_place_that_cannot_be_written_to_has_no_relay_env(cli, tmp_path):
    (tmp_path / "file").touch()
    directory = tmp_path / "file" / "d"
    refused = cli.json("--data-dir", str(directory), "settings", "init", exit_code=1)
    sentence = f"{directory / 'relay.env'} cannot be written: use another --data-dir."
    assert (refused["code"], refused["message"]) == ("bad_settings", sentence)


def test_a_malformed_address_makes_no_relay_env(cli, tmp_path):
    refused = cli.json("--data-dir", str(tmp_path / "x"), "settings", "init", "--redis-url", "nonsense", exit_code=1)
    assert (refused["code"], (tmp_path / "x").exists()) == ("bad_settings", False)
