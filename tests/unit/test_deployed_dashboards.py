"""The dashboard and the alert rules use only metrics that exist, and labels that these have."""

from __future__ import annotations

import json
import re
import subprocess

import promql_parser
import pytest
from ruamel.yaml import YAML

from relay.metrics.catalogue import Metric
from tests.architecture.sources import ROOT
from tests.tools import require

GRAFANA = ROOT / "deploy" / "grafana" / "relay.json"
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads(GRAFANA.read_text("utf-8"))
RULES = [rule for group in YAML(typ="safe").load(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SERIES: dict[str, Metric] = {}
for each in Metric:
    suffixes = ("_bucket", "_sum", "_count") if each.kind == "histogram" else ("",)
    SERIES |= {each.family + suffix: each for suffix in suffixes}


def queries():
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"].replace("$__rate_interval", "1m")
    for rule in RULES:
        yield rule["alert"], rule["expr"]


QUERIES = dict(queries())


def nodes(node):
    """Yield a query's expressions, from the outside in."""
    yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector", "selector"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, (str, int, float)):
            yield from nodes(inner)
    for inner in getattr(node, "args", None) or ():
        yield from nodes(inner)


def labels_of(name):
    metric = SERIES[name]
    return {*metric.labels, *(("le",) if name.endswith("_bucket") else ())}


def faults(query):
    """Return a query's faults: unknown series, and labels that a series does not have."""
    found, selected = [], set()
    for node in nodes(promql_parser.parse(query)):
        if isinstance(node, promql_parser.VectorSelector):
            if node.name not in SERIES:
                found.append(node.name)
                continue
            selected |= labels_of(node.name)
            found += [matcher.name for matcher in node.matchers.matchers if matcher.name not in labels_of(node.name)]
    for node in nodes(promql_parser.parse(query)):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found += [label for label in node.modifier.labels if label not in selected]
    return found


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_names_only_metrics_that_exist(name):
    assert "relay_" in QUERIES[name]
    assert faults(QUERIES[name]) == []


@pytest.mark.parametrize(
    "query",
    [
        "relay_nothing",
        "rate(relay_pendings[5m])",
        'relay_pending{plugin="shop"}',
        "sum by (webhook) (relay_workers)",
        "relay_duration_seconds",
        'histogram_quantile(0.9, sum by (le) (rate(relay_duration_seconds_bucket{lane="bulk"}[5m])))',
    ],
)
def test_a_query_for_an_unknown_metric_would_be_found(query):
    assert faults(query)


def test_every_metric_is_on_the_dashboard():
    asked = "\n".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert [metric.family for metric in Metric if metric.family not in asked] == []


def test_a_legend_names_labels_that_its_query_leaves():
    for panel in PANELS:
        for target in panel["targets"]:
            labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert labels <= set(re.findall(r"\w+", target["expr"])) | {"lane"}, panel["title"]


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_alert_says_how_grave_it_is_and_what_to_do():
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "action"} <= set(rule["annotations"])
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_every_alert_is_tried():
    tried = (PROMETHEUS / "alerts.test.yml").read_text("utf-8")
    assert [rule["alert"] for rule in RULES if rule["alert"] not in tried] == []


@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")])
def test_promtool_takes_the_rules_and_their_tests(command):
    promtool = require("promtool")
    done = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
