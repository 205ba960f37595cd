"""What is drawn on a terminal while a command is at work, and nowhere else."""

import os
import re
from dataclasses import replace

import pytest

from relay.cli.progress import follow
from relay.errors import Unavailable
from relay.store.replays.jobs import ReplayJob, ReplayState
from tests.unit.cli import a_webhook

JOB = ReplayJob(
    "01890000-0000-7000-8000-000000000000", "acme", ReplayState.PLANNING, None, 0, 0, 0, 0, {}, 20, False, None, 0, None
)
STORY = [
    JOB,
    replace(JOB, state=ReplayState.RUNNING, matched=6, started=4, delivered=2, skipped=1),
    Unavailable(),
    replace(JOB, state=ReplayState.DONE, matched=6, started=4, delivered=3, failed=1, skipped=2, finished_at_ms=1),
]


def telling(story):
    """Return a function that reads a job which advances with each read; errors are raised as the store would."""
    told = iter(story)

    def read():
        each = next(told)
        if isinstance(each, Exception):
            raise each
        return each

    return read


def test_a_watcher_draws_a_job_from_its_planning_to_its_end(capsys):
    assert follow(telling(STORY), draws=True) == STORY[-1]
    drawn = capsys.readouterr()
    assert "01890000 done" in drawn.err
    assert "6/6" in drawn.err
    assert "3 delivered, 1 failed, 2 skipped" in drawn.err
    assert drawn.out == ""


def test_a_follower_waits_for_the_end_and_says_nothing(capsys):
    assert follow(telling(STORY), draws=False) == STORY[-1]
    assert capsys.readouterr() == ("", "")


def test_a_job_that_is_over_is_not_looked_at_again():
    assert follow(telling(STORY[-1:]), draws=False) == STORY[-1]
    assert follow(telling(STORY[-1:]), draws=True) == STORY[-1]


def forgets(cli, _valkey):
    return "invocations", "forget", "--subject", "Ann", "--plugin", "acme"


def reseals(cli, _valkey):
    for ring in ("target", "data"):
        os.utime(cli.directory / f"{ring}.keys", (0, 0))  # known to every process by now
    return "vault", "reseal"


def divides(_cli, _valkey):
    return "partitions", "divide", "2"


def restores(cli, valkey):
    cli.json("backup", str(cli.directory / "b"))
    with valkey.client() as client:
        client.flushall()
    return "restore", str(cli.directory / "b")


#: What each command says that it does, and whether it knows how much there is to do.
AT_WORK = [(forgets, "forgetting", True), (reseals, "resealing", False), (divides, "dividing", True), (restores, "copying keys", False)]  # fmt: skip


@pytest.fixture
def filled(cli, valkey):
    """The command, on a store with three calls, two of them about Ann; backups of it do not wait for other replicas."""
    with valkey.client() as client:
        client.config_set("repl-diskless-sync-delay", 0)
    cli.use_ring_files()
    cli.apply(a_webhook())
    for more in (("--subject", "Ann"), ("--subject", "Ann"), ()):
        cli.json("trigger", "ping", "--plugin", "acme", "--async", *more)
    return cli


def plain(shown):
    return re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", shown)


@pytest.mark.parametrize(("line_of", "what", "knows_all"), AT_WORK, ids=[what for _, what, _ in AT_WORK])
def test_a_command_draws_how_much_it_has_done_and_of_how_much_only_if_it_knows(
    filled, terminal, valkey, line_of, what, knows_all
):
    code, shown = terminal(*line_of(filled, valkey))
    drawn = re.findall(rf"{what} [━╸╺]* *(\d+)/(\S+)", plain(shown))
    assert code == 0, shown
    done, of = drawn[-1]
    assert int(done) > 1
    assert of == (done if knows_all else "?")
    assert {each for _, each in drawn} <= {of, "?"}


def test_a_backup_draws_what_it_is_about(filled, terminal):
    code, shown = terminal("backup", str(filled.directory / "b"))
    assert code == 0, shown
    assert re.search(r"checking the files [1-9][\d.]*/\? ", plain(shown))


@pytest.mark.parametrize(("line_of", "what"), [each[:2] for each in AT_WORK], ids=[what for _, what, _ in AT_WORK])
def test_elsewhere_than_on_a_terminal_a_command_draws_nothing(filled, valkey, line_of, what):
    result = filled.run(*line_of(filled, valkey))
    assert (result.exit_code, what in result.output) == (0, False)
