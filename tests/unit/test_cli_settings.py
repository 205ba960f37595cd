import re


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
