from dataclasses import replace

from relay.cli.progress import follow
from relay.errors import Unavailable
from relay.store.replays.jobs import ReplayJob, ReplayState

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
