"""The documents are true: states, modules, commands, settings."""

from __future__ import annotations

import re
import shlex
import tomllib

import click
import fakeredis
import pytest

from relay.answer.results import Result
from relay.chains import StepResult, found_secrets, pins_of, progress
from relay.cli import main
from relay.cli.filters import filter_options
from relay.domain.invocation import FINAL, MEANINGS, TRANSITIONS, Outcome, Sent, State
from relay.egress import AddressPolicy
from relay.errors import DocumentError
from relay.executor.call_plans import CallPlans
from relay.registration.chain_fields import ChainFields, StepFields
from relay.registration.credential_fields import BasicFields, MutualTlsFields, OAuth2Fields
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.registration.fields import RetryFields, WebhookFields
from relay.request.trigger import Trigger
from relay.settings import Settings
from relay.store.registry.webhooks import Registry
from relay.store.replays.jobs import Skip
from relay.telemetry.log import Event
from relay.vault import Vault
from tests.signing_keys import key_pair

from .sources import ROOT, modules, name_of, text_of


def table(text: str, *columns: str) -> list[list[str]]:
    """Return the rows of the Markdown table with these columns, without backticks."""
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    assert head in text, columns
    body = text.split(head, 1)[1].split("\n\n", 1)[0]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in body.strip().splitlines()]


def listed_transitions():
    return {
        (str(state or "-"), str(after), by)
        for state, targets in TRANSITIONS.items()
        for after, transitions in targets.items()
        for by in transitions
    }


def test_the_lifecycle_page_has_every_state_and_says_which_are_final():
    rows = table(text_of("docs/lifecycle.md"), "state", "meaning")
    assert [state for state, _ in rows] == [str(state) for state in State]
    assert {state for state, meaning in rows if meaning.startswith("final: ")} == {str(state) for state in FINAL}


def test_the_lifecycle_page_has_exactly_the_transitions_of_the_code():
    rows = table(text_of("docs/lifecycle.md"), "from", "to", "by", "when")
    assert len(rows) == len(listed_transitions())
    assert {(state, after, by) for state, after, by, _ in rows} == listed_transitions()


def test_the_lifecycle_diagram_has_exactly_the_transitions_of_the_code():
    edges = re.findall(r"^    (\S+) --> (\S+): (\S+)$", text_of("docs/lifecycle.md"), re.MULTILINE)
    assert len(edges) == len(listed_transitions())
    assert {(state.replace("[*]", "-"), after, by) for state, after, by in edges} == listed_transitions()


def test_the_lifecycle_page_says_what_every_outcome_leads_to():
    rows = table(text_of("docs/lifecycle.md"), "outcome", "ends the invocation as", "code that a plugin sees")
    assert rows == [[str(outcome), str(each.state), each.code or "-"] for outcome, each in MEANINGS.items()]
    assert [sent for sent, _ in table(text_of("docs/lifecycle.md"), "sent", "meaning")] == [str(sent) for sent in Sent]


def test_the_page_of_codes_says_of_every_outcome_what_a_plugin_is_told():
    rows = table(
        text_of("docs/errors.md"), "code", "meaning", "outcomes that lead to it (operators see these)", "`sent`"
    )
    said = {
        Outcome(each): (code, sentence, sent)
        for code, sentence, outcomes, sent in rows
        for each in outcomes.split("`, `")
    }
    assert said.keys() == {each for each, meaning in MEANINGS.items() if meaning.sentence}
    for outcome, (code, sentence, sent) in said.items():
        meaning = MEANINGS[outcome]
        told = {"-": meaning.sentence, "no": meaning.sentence, "maybe": meaning.sentence_if_sent}.get(sent, sentence)
        assert (code, sentence, sent == "-") == (meaning.code, told, not meaning.sentence_if_sent)


# -- docs/registrations.md ------------------------------------------------------------------------------------------

RULES = EndpointRules(AddressPolicy())
EXAMPLES = re.findall(r"^```(?:js|json)\n(.*?)^```$", text_of("docs/registrations.md"), re.MULTILINE | re.DOTALL)
SECRETS = {"VENDOR_TENANT": "planted-tenant", "VENDOR_KEY": "planted-vendor-key", "EHR_KEY": key_pair("P-384").pem}
FAULTY = re.findall(
    r"^```js faulty\n(.*?)^```\n\n```text\n(.*?)^```$", text_of("docs/registrations.md"), re.MULTILINE | re.DOTALL
)


def looked_up(plugin, kind, name):
    assert (plugin, kind) == ("shop", "secret")
    return SECRETS[name]


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: re.search(r'id"?: "([a-z-]+)"', text)[1])
def test_an_example_of_the_registrations_page_registers_without_a_warning(text):
    plugin = None if '"plugin"' in text else "shop"
    name, registrations = read_registrations(text, RULES, plugin=plugin, look_up=looked_up)
    assert name == "shop"
    assert registrations
    assert not [warning for each in registrations for warning in each.warnings]


@pytest.fixture(scope="module")
def registered():
    """A registry to which every example of the page was applied, in order."""
    registry = Registry(
        fakeredis.FakeRedis(server=fakeredis.FakeServer()), *[Vault.from_text(Vault.new_key_text())] * 2
    )
    for name, value in SECRETS.items():
        registry.secrets.set("shop", name, value)
    for text in EXAMPLES:
        registry.apply("shop", read_registrations(text, RULES, plugin="shop", look_up=looked_up)[1])
    return registry


def test_the_chains_of_the_registrations_page_fit_the_webhooks_of_its_examples(registered):
    assert {each.shape.webhook_id for each in registered.shapes("shop") if each.shape.chain} == {
        "order-and-bill",
        "tell-appointment",
    }


def test_the_chain_of_the_registrations_page_that_logs_in_does_what_the_page_says(registered):
    revision, shape = registered.current("shop", "tell-appointment")
    pins = pins_of("shop", shape, registered.current)
    plan = CallPlans(registered, AddressPolicy()).chain("shop", "tell-appointment", revision, pins)
    trigger = Trigger({"patient": "p-1", "day": "2026-01-31"})
    results = {}

    def ends(*data):
        results[progress(plan, trigger, results).step] = [
            StepResult(200, each, False, Outcome.ANSWERED, State.DELIVERED) for each in data
        ]

    assert progress(plan, trigger, results).triggers == (Trigger({"role": "reminder"}),)
    ends({"token": "t0ken-of-the-clinic"})
    bearer = {"Authorization": "Bearer t0ken-of-the-clinic"}
    (found,) = progress(plan, trigger, results).triggers
    assert found == Trigger(None, bearer, {"patient": "p-1", "day": "2026-01-31"})
    ends({"id": "a-7", "participants": [{"address": "a@example.com"}, {}, {"address": "b", "greeting": "Hello"}]})
    assert [each.data["text"] for each in progress(plan, trigger, results).triggers] == ["See you soon", "Hello"]
    ends(None, None)
    assert progress(plan, trigger, results).result == Result(200, {"appointment": "a-7", "told": 2}, error=False)
    assert found_secrets(plan, trigger, results) == ("t0ken-of-the-clinic",)


def test_the_registrations_page_has_examples():
    assert len(EXAMPLES) >= 6
    assert len(FAULTY) == 1


@pytest.mark.parametrize(("text", "said"), FAULTY)
def test_a_faulty_example_gets_the_faults_that_are_printed(text, said):
    with pytest.raises(DocumentError) as caught:
        read_registrations(text, RULES, plugin="shop")
    assert [str(fault) for fault in caught.value.faults] == said.splitlines()


@pytest.mark.parametrize(
    ("before", "schema"),
    [
        ("## Fields", WebhookFields),
        ("`retry` has these members", RetryFields),
        ("Fields of a chain", ChainFields),
        ("Fields of a step", StepFields),
    ],
)
def test_the_registrations_page_describes_every_field_and_no_other(before, schema):
    described = [name for name, _ in table(text_of("docs/registrations.md").split(before)[1], "field", "meaning")]
    assert sorted(described) == sorted(names(schema))


def test_the_registrations_page_describes_every_kind_of_credentials():
    rows = table(text_of("docs/registrations.md"), "type", "field", "meaning")
    kinds = {"basic": BasicFields, "oauth2": OAuth2Fields, "mtls": MutualTlsFields}
    assert {(kind, name) for kind, name, _ in rows} == {
        (kind, name) for kind, schema in kinds.items() for name in names(schema) - {"type"}
    }


def names(schema):
    return {field.data_key or name for name, field in schema().fields.items()}


# -- docs/ARCHITECTURE.md -------------------------------------------------------------------------------------------


def test_the_code_map_has_every_package_once_and_no_other():
    maps = [
        table(text_of("docs/ARCHITECTURE.md"), head, "what it is") for head in ("package on the way", "other package")
    ]
    named = [name for rows in maps for name, _ in rows]
    packages = {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in modules()} - {"relay/"}
    assert sorted(name.strip("`") for name in named) == sorted(packages | {"relay/store/lua/"})


def test_the_test_that_guards_each_invariant_is_there():
    guards = [guard for _, guard in table(text_of("docs/ARCHITECTURE.md"), "invariant", "test")]
    missing = []
    for guard in guards:
        file, _, test = guard.partition("::")
        if not (ROOT / file).is_file() or (test and f"\ndef {test}(" not in text_of(file)):
            missing.append(guard)
    assert guards
    assert not missing


# -- SECURITY.md and docs/security.md -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SECURITY.md", "docs/security.md"])
def test_each_threat_has_a_control_and_a_test_that_is_there(name):
    rows = table(text_of(name), "threat", "control", "test")
    assert len(rows) >= 6
    for threat, control, tests in rows:
        assert threat
        assert control
        named = re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", tests)
        assert named, threat
        missing = [
            (file, test)
            for file, test in named
            if not (ROOT / file).is_file() or (test and f"\ndef {test}(" not in text_of(file))
        ]
        assert missing == []


DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_a_test_that_a_document_names_is_there():
    missing = [
        (name_of(path), file, test)
        for path in DOCUMENTS
        for file, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text_of(path))
        if not (ROOT / file).is_file() or (test and f"\ndef {test}(" not in text_of(file))
    ]
    assert missing == []


def test_a_document_links_only_to_what_is_there():
    broken = [
        (name_of(path), link)
        for path in DOCUMENTS
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", text_of(path))
        if not (path.parent / link).exists()
    ]
    assert broken == []


# -- docs/operations.md ---------------------------------------------------------------------------------------------


def test_the_operations_page_has_every_setting_and_no_other():
    rows = table(text_of("docs/operations.md"), "about", "settings")
    named = [name for _, names_ in rows for name in re.findall(r"RELAY_\w+", names_)]
    assert sorted(named) == sorted(about.name for _, about in Settings.described())


def test_the_operations_page_has_every_event_that_is_logged():
    used = {Event[name] for path in modules() for name in re.findall(r"\bEvent\.([A-Z_]+)\b", text_of(path))}
    documented = [event for event, *_ in table(text_of("docs/operations.md"), "event", "who", "what")]
    assert sorted(documented) == sorted(used)


def test_the_operations_page_has_every_reason_for_which_a_replay_skips():
    assert [reason for reason, _ in table(text_of("docs/operations.md"), "skipped because", "means")] == list(Skip)


def test_the_operations_page_has_every_filter():
    filters = {option.opts[0] for option in filter_options(lambda: None).__click_params__}
    rows = table(text_of("docs/operations.md"), "filter", "takes")
    assert {name for names_, _ in rows for name in re.findall(r"--[a-z-]+", names_)} == filters


def test_a_document_names_only_settings_that_there_are():
    known = {about.name for _, about in Settings.described()}
    named = {(path, name) for path in DOCUMENTS for name in re.findall(r"\bRELAY_[A-Z_]*[A-Z]\b", text_of(path))}
    assert {(path, name) for path, name in named if not known & {name, name.removesuffix("_FILE")}} == set()


# -- README.md ------------------------------------------------------------------------------------------------------


def commands():
    """Yield every ``relay ...`` in the documents' code, as words, without the shell's syntax around it."""
    for path in DOCUMENTS:
        text = text_of(path).replace("\\\n", " ")
        spans = re.findall(r"`(relay [a-z][^`]*)`", text)
        for block in re.findall(r"^```sh[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            spans += re.findall(r"(?:^|[=(] ?|\s)(relay [a-z][^|)\n]*)", block, re.MULTILINE)
        yield from ((name_of(path), shlex.split(span)[1:]) for span in spans)


def test_every_command_that_a_document_shows_is_there_with_its_options():
    wrong = []
    for name, words in commands():
        command, context, rest = main, click.Context(main), list(words)
        while isinstance(command, click.Group) and rest:
            found = command.get_command(context, rest.pop(0).rstrip(","))
            if found is None:
                wrong.append((name, words))
                break
            command = found
        else:
            options = {text for each in command.params for text in each.opts}
            options |= {"--output", "--help"}
            wrong += [(name, words) for word in rest if word.startswith("--") and word.split("=")[0] not in options]
    assert wrong == []
    assert len(list(commands())) > 40


def test_the_readme_has_two_commands_on_its_first_screen_and_the_promises():
    first_screen = text_of("README.md").split("\n## ")[0]
    made = {"demo": "$(DEMO_STAMP)", "test": "env"}  # so that each needs no other command before it
    assert all(f"\nmake {target} " in first_screen for target in made)
    assert all(f"\n{target}: {needs}  ##" in text_of("Makefile") for target, needs in made.items())
    promises = text_of("README.md").split("\n## What is promised\n")[1].split("\n## ")[0]
    assert "exactly one final state" in promises
    assert "sent at most once" in promises


def test_the_declared_pythons_are_those_of_the_readme():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    declared = [text.rsplit(" ", 1)[1] for text in project["classifiers"] if "Python :: 3." in text]
    assert f"Python {declared[0]} to {declared[-1]} and make" in text_of("README.md")


def test_the_files_that_a_trigger_passes_are_there():
    hops = text_of("docs/ARCHITECTURE.md").partition("## A trigger, hop by hop")[2].split("```")[1]
    named = re.findall(r"(?:[a-z_]+/)*[a-z_]+\.(?:py|lua)\b", hops)
    files = {
        path.relative_to(ROOT).as_posix() for top in ("api", "relay", "workers") for path in (ROOT / top).rglob("*")
    }
    assert len(named) > 20
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []
