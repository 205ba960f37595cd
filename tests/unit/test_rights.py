"""Each server user may do what docs/security.md says, and nothing else: every command is tried on every kind of key."""

from __future__ import annotations

import re
from itertools import cycle, permutations, product
from pathlib import Path

import pytest
import redis

from relay.queue import LANES
from relay.store.keys.names import CHANNELS, PARTITIONED, PREFIX, SHARED, SHARED_ROOT, TRAIL, partition_root
from relay.store.scripting.loading import load_functions
from relay.up import access
from tests.timing import ANSWER_S

ROOT = Path(__file__).parents[2]
USERS = [user.name for user in access.users()]
PASSWORD = "secret"
UUID = "0189c6b4-8f1e-4d3a-9c55-2f6a1b7e0d42"
#: Names that a plugin may give itself or a webhook, each like a part of some pattern.
NAMES = ("x", "celeryev", "pidbox", "interactive", "audit", "target", "token", "reply", "shared", "relay", UUID)
SECTION = re.search(r"## Server users\n(.*?)\n## ", (ROOT / "docs/security.md").read_text("utf-8"), re.DOTALL)[1]
TARGETS = {
    *("target", "access_token", "access_token_fetcher", "secret_names", "secret", "secret_settings", "secret_users")
}
CATEGORIES = ("string", "hash", "list", "set", "sortedset")
_TWO = (
    *("copy K K", "rename K K", "renamenx K K", "lmove K K LEFT LEFT", "blmove K K LEFT LEFT 0", "rpoplpush K K"),
    *("brpoplpush K K 0", "smove K K 1", "sinterstore K K", "sdiffstore K K", "sunionstore K K", "mset K 1 K 1"),
    *("zunionstore K 1 K", "zinterstore K 1 K", "zdiffstore K 1 K", "zrangestore K K 0 1", "pfmerge K K", "lcs K K"),
    *("bitop AND K K", "geosearchstore K K FROMMEMBER m BYRADIUS 1 m", "msetnx K 1 K 1", "sort K STORE K"),
)
#: Arguments of commands whose keys the server finds by the arguments before them.
_MOVABLE = {
    **dict.fromkeys(("fcall", "fcall_ro", "eval", "evalsha", "eval_ro", "evalsha_ro"), "f 1 K"),
    **dict.fromkeys(("zunion", "zinter", "zdiff", "zintercard", "sintercard"), "1 K"),
    **dict.fromkeys(("zunionstore", "zinterstore", "zdiffstore"), "K 1 K"),
    "lmpop": "1 K LEFT",
    "zmpop": "1 K MIN",
    "blmpop": "0 1 K LEFT",
    "bzmpop": "0 1 K MIN",
    "xread": "STREAMS K 0",
    "xreadgroup": "GROUP g c STREAMS K 0",
    "migrate": "h 1 K 0 1",
    "sort": "K",
    "sort_ro": "K",
    "georadius": "K 1 1 1 m",
    "georadiusbymember": "K m 1 m",
}


def named(template, name):
    """Return what a template of a key's name becomes with a name that a plugin may choose, and other parts."""
    return re.sub(r"{(plugin|webhook)}", name, template).replace("{", "").replace("}", "")


def keys(names=NAMES):
    """Return keys by their kind in the table, with every kind of name that the relay and Celery make."""
    found, chosen = {row: set() for row in table()}, cycle(names)
    for name, template in PARTITIONED.items():
        kind = "targets, secrets, access tokens" if name in TARGETS else "records, registrations, counts, API keys"
        found[kind] |= {partition_root(number) + named(template, next(chosen)) for number in (0, 42)}
    found["records, registrations, counts, API keys"] |= {SHARED_ROOT + named(each, "x") for each in SHARED.values()}
    found["records, registrations, counts, API keys"] |= {SHARED_ROOT, partition_root(0), partition_root(99)}
    for root, (name, tail) in product((partition_root(0), partition_root(42), SHARED_ROOT), TRAIL.items()):
        kind = "entries of" if name == "audit_entries" else "checkpoints and segments of"
        found[f"{kind} audit trails"].add(root + tail)
    found["lanes"] |= set(LANES)
    exchanges = ("relay", "celeryev", "celery.pidbox", "reply.celery.pidbox")
    found["kombu's bindings"] |= {f"_kombu.{t}.{each}" for t in ("binding", "binding_permanent") for each in exchanges}
    found["kombu's bindings"].add("_kombu.binding_deadlines")
    found["answers to inspections"].add(f"{UUID}.reply.celery.pidbox")
    found["queues of events"].add(f"celeryev.{UUID}")
    found["a worker's mailbox"] |= {"interactive1@here.celery.pidbox", "bulk12@a.b.c.celery.pidbox"}
    found["anything else"] |= {
        "x",
        "celery",
        "unacked",
        "interactive2",
        "bulk-x",
        "_kombu.binding.x",
        "celeryev",
        "{x}:",
    }
    return {kind: sorted(each) for kind, each in found.items() if "channel" not in kind}


def table():
    """Return the table of docs/security.md: for each row the words of each user."""
    rows = [line.strip("| ").split(" | ") for line in SECTION.splitlines() if line.startswith("|")]
    cells = [
        [part.strip() for part in line.strip().strip("|").split("|")] for line in SECTION.splitlines() if "|" in line
    ]
    assert len(rows) == len(cells)
    head, _, *body = cells
    users = [name.strip("`") for name in head[1:]]
    assert users == USERS
    return {row[0]: dict(zip(users, row[1:], strict=True)) for row in body}


@pytest.fixture(scope="module")
def server(valkey_server):
    with valkey_server.client() as client:
        client.flushall()
        client.function_flush()  # earlier tests may have loaded scripts of their own
        for user in access.users():
            _, name, *rules = user.rule(PASSWORD).split()
            client.execute_command("ACL", "SETUSER", name, *rules)
        load_functions(valkey_server.url)
        yield client
        client.execute_command("ACL", "DELUSER", *USERS)
        client.flushall()


@pytest.fixture(scope="module")
def commands(server):
    """All commands of the server with arguments, in which K stands for a key; subcommands are ones of their own."""
    found = {}
    for about in server.execute_command("COMMAND").values():
        for each in (about, *[dict_of(sub) for sub in about["subcommands"]]):
            found[each["name"].replace("|", " ")] = arguments(each)
    return found


def dict_of(about):
    """Return what `COMMAND` says of a subcommand, as redis-py gives it of a command."""
    name, arity, _, first, last, step, *_ = about
    text = name.decode() if isinstance(name, bytes) else name
    return {"name": text, "arity": arity, "first_key_pos": first, "last_key_pos": last, "step_count": step}


def arguments(about):
    name = about["name"].replace("|", " ")
    if name in _MOVABLE:
        return _MOVABLE[name]
    words = name.count(" ") + 1
    count = max(abs(about["arity"]) - words, 0)
    first, last, step = (about[each] for each in ("first_key_pos", "last_key_pos", "step_count"))
    if not first:
        return " ".join(["1"] * count)
    first, last = first - words + 1, (last - words + 1 if last > 0 else last)
    count = max(count, first, last)
    last = count + 1 + last if last < 0 else last
    at = set(range(first, last + 1, step or 1))
    return " ".join("K" if place in at else "1" for place in range(1, count + 1))


def allowed(server, user, tried):
    """Return which of these commands, each a list of words, a user may call."""
    pipeline = server.pipeline(transaction=False)
    for words in tried:
        pipeline.execute_command("ACL", "DRYRUN", user, *words)
    replies = pipeline.execute(raise_on_error=False)
    strange = [
        (words, reply)
        for words, reply in zip(tried, replies, strict=True)
        if isinstance(reply, Exception) and "wrong number" in str(reply)
    ]
    assert not strange
    return [words for words, reply in zip(tried, replies, strict=True) if reply in (b"OK", "OK")]


def words_of(name, text, key):
    return [*name.split(), *[key if word == "K" else word for word in text.split()]]


@pytest.fixture(scope="module")
def meant(server):
    """What the words of the table mean: sets of commands."""
    dangerous = {each.decode() if isinstance(each, bytes) else each for each in server.acl_cat("dangerous")}
    data = set()
    for category in CATEGORIES:
        data |= {each.decode() if isinstance(each, bytes) else each for each in server.acl_cat(category)}
    sentence = re.search(r"\*data\* is (.*?)\. A command", SECTION, re.DOTALL)[1]
    assert tuple(re.findall(r"`(\w+)`", sentence)[: len(CATEGORIES)]) == CATEGORIES
    data = (data - dangerous) | set(re.findall(r"`(\w+)`", sentence)[len(CATEGORIES) :])

    def of(cell):
        return data if cell == "data" else set(re.findall(r"`(\w+)`", cell))

    return of


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("kind", [kind for kind in table() if "channel" not in kind])
def test_every_command_on_every_kind_of_key_is_allowed_where_the_table_says_so_and_nowhere_else(
    server, commands, meant, user, kind
):
    with_keys = {name: text for name, text in commands.items() if "K" in text.split()}
    wanted = meant(table()[kind][user])
    for key in keys()[kind]:
        tried = [words_of(name, text, key) for name, text in with_keys.items()]
        found = {
            words[0] if " ".join(words[:2]) not in commands else "|".join(words[:2])
            for words in allowed(server, user, tried)
        }
        inspecting = {"memory|usage"} if user == "operator" and "memory|usage" in found else set()
        assert found - inspecting == wanted & names(with_keys), key


@pytest.mark.parametrize("user", USERS)
def test_no_name_that_a_plugin_chooses_makes_a_key_another_kind_of_key(server, meant, user):
    simple = {
        "get": "K",
        "set": "K 1",
        "del": "K",
        "rpush": "K 1",
        "lpush": "K 1",
        "llen": "K",
        "exists": "K",
        "brpop": "K 0",
    }
    for name in NAMES:
        for kind, found in keys((name,)).items():
            tried = [words_of(each, text, key) for key in found for each, text in simple.items()]
            may = {tuple(words) for words in allowed(server, user, tried)}
            assert may == {tuple(words) for words in tried if words[0] in meant(table()[kind][user])}, (name, kind)


def names(with_keys):
    return {name.replace(" ", "|") for name in with_keys}


@pytest.mark.parametrize("user", USERS)
def test_a_command_with_two_keys_moves_nothing_to_where_either_may_not_be(server, meant, user):
    rows, every = table(), keys()
    tried = []
    for source, target in permutations([kind for kind in rows if "channel" not in kind], 2):
        if rows[source][user] == rows[target][user] == "data":
            continue
        for one, other, text in product(every[source][:2], every[target][:2], _TWO):
            first, *rest = text.split()
            left = iter((one, other))
            tried.append([first, *[next(left) if word == "K" else word for word in rest]])
    exempt = {"memory"}
    assert [words for words in allowed(server, user, tried) if words[0] not in exempt] == []
    assert meant("data")


def channels():
    return {
        "channels of notices": PREFIX + CHANNELS["notice"].replace("{process}", UUID),
        "channel of heads of chains": PREFIX + CHANNELS["heads"],
        "channel of inspections": "/0.celery.pidbox",
        "channels of events": "/0.celeryev/task.multi",
    }


@pytest.mark.parametrize("user", USERS)
def test_channels_are_heard_and_spoken_on_where_the_table_says_so(server, meant, user):
    rows = table()
    assert {kind for kind in rows if "channel" in kind} == channels().keys()
    for kind, channel in channels().items():
        pattern = "/0.celeryev/*" if kind == "channels of events" else channel
        tried = [["publish", channel, "1"], ["subscribe", channel], ["psubscribe", pattern]]
        if channel.startswith(PREFIX):
            tried = [*tried[:2], ["psubscribe", "*"], ["psubscribe", "relay:*"]]
        found = {words[0] for words in allowed(server, user, tried)}
        assert found - ({"subscribe"} if "psubscribe" in found else set()) == meant(rows[kind][user]), kind
    assert not allowed(server, user, [["publish", "x", "1"], ["subscribe", "x"], ["spublish", "relay:notice:x", "1"]])


#: Commands without keys or channels that only connect, order or ask what time it is.
HARMLESS = {
    *("auth", "hello", "ping", "select", "time", "info", "multi", "exec", "discard", "unwatch", "unsubscribe"),
    *(
        "reset",
        "quit",
        "punsubscribe",
        "client setinfo",
        "client setname",
        "client id",
        "cluster slots",
        "command",
        "asking",
        "wait",
    ),
}
MORE = {
    "consumer": {"script load", "script exists"},
    "flower": {"script load", "script exists"},
    "operator": {"scan", "dbsize", "acl whoami"},
}


@pytest.mark.parametrize("user", USERS)
def test_of_the_commands_without_keys_each_may_call_those_that_tell_and_change_nothing(server, commands, user):
    without = [words_of(name, text, "") for name, text in commands.items() if "K" not in text.split()]
    found = {
        " ".join(words[:2]) if " ".join(words[:2]) in commands else words[0] for words in allowed(server, user, without)
    }
    about = {name for name in found if name.startswith("command ")}  # what COMMAND tells of the server's commands
    assert found - about - {"publish", "subscribe", "psubscribe", "spublish"} <= HARMLESS | MORE.get(user, set())


def fill(server):
    server.flushall()
    every = {key: kind for kind, found in keys().items() for key in found}
    for key in every:
        server.execute_command("SET", key, f"value of {key}")
    return every


READS = (
    "GET K",
    "DUMP K",
    "GETDEL K",
    "GETEX K",
    "LRANGE K 0 -1",
    "HGETALL K",
    "OBJECT ENCODING K",
    "EXISTS K",
    "SORT K",
)
CHANGES = (
    *(
        "SET K x",
        "DEL K",
        "UNLINK K",
        "APPEND K x",
        "RPUSH K x",
        "LPUSH K x",
        "EXPIRE K 1",
        "GETSET K x",
        "PEXPIREAT K 1",
    ),
    *("RENAME K stolen", "RENAME stolen K", "COPY stolen K REPLACE", "COPY K stolen", "RESTORE K 0 DUMPED REPLACE"),
    *("MOVE K 1", "SETRANGE K 0 x", "LTRIM K 1 0", "FLUSHALL", "FLUSHDB", "SWAPDB 0 1"),
)
CODE = (
    *(["EVAL", "return redis.call('GET', ARGV[1])", "0", "K"], ["EVAL", "return redis.call('DEL', ARGV[1])", "0", "K"]),
    *(["FUNCTION", "LOAD", "REPLACE", "#!lua name=mine\nredis.register_function('mine', function(k, a) end)"],),
    *(["FUNCTION", "FLUSH"], ["SCRIPT", "FLUSH"], ["CONFIG", "SET", "dir", "/tmp"], ["SAVE"]),
    *(["ACL", "SETUSER", "me", "on", "nopass", "+@all", "~*"], ["REPLICAOF", "127.0.0.1", "1"], ["MODULE", "LIST"]),
)


@pytest.mark.parametrize("user", USERS)
def test_an_attack_on_a_filled_server_by_commands_transactions_and_scripts_reaches_nothing_beyond_the_table(
    valkey_server, server, meant, user
):
    rows, every = table(), fill(server)
    beyond = [key for key, kind in every.items() if not meant(rows[kind][user])]
    written = [
        key for key, kind in every.items() if meant(rows[kind][user]) - {"get", "exists", "llen", "lrange", "lindex"}
    ]
    before = {key: server.dump(key) for key in every}
    url = valkey_server.tcp_url.replace("://", f"://{user}:{PASSWORD}@")
    with redis.Redis.from_url(url, socket_timeout=ANSWER_S) as client:
        for key in beyond[:: max(1, len(beyond) // 60)]:
            for text in (*READS, *CHANGES):
                words = [before[key] if word == "DUMPED" else key if word == "K" else word for word in text.split()]
                assert_refused(client, words)
            for words in CODE:
                assert_refused(client, [key if word == "K" else word for word in words])
            in_transaction(client, key)
            by_script(client, key)
    assert set(server.keys("*")) == {key.encode() for key in every}
    changed = {key for key in every if server.dump(key) != before[key]}
    assert changed <= set(written)
    assert not any(name.startswith("mine") for name in map(str, server.function_list()))


def assert_refused(client, words):
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*words)


def in_transaction(client, key):
    pipeline = client.pipeline(transaction=True)
    pipeline.get(key)
    with pytest.raises(redis.exceptions.NoPermissionError):
        pipeline.execute()


def by_script(client, key):
    """Run code of one's own, as kombu's users may: it has the rights of whoever runs it."""
    for command in ("'GET', ARGV[1]", "'DEL', ARGV[1]", "'RPUSH', ARGV[1], 'x'", "'SET', ARGV[1], 'x'"):
        try:
            name = client.script_load(f"return redis.call({command})")
        except redis.exceptions.NoPermissionError:
            return
        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|NOPERM|ACL"):
            client.evalsha(name, 0, key)
