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
