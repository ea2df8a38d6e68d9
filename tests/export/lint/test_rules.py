"""Every rule there is, and will be: it has words, and graphs that it passes and catches."""

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from export.lint.linter import LINT_NAMES, RULE_FAMILIES, SEVERITIES, LintRule, lint, rules
from export.lint.qdq_graph import QdqGraph

RULES = {rule.id: rule for rule in rules()}
#: What TensorRT-RTX's parser refuses; the other errors are of results, or of what comes after parsing.
REFUSED_BY_THE_PARSER = {
    "activation-zero-point",
    "weight-zero-point",
    "weight-type",
    "integer-bias",
    "scale-sane",
    "pairs-not-operators",
    "static-quantisation",
    "no-custom-operators",
}


def test_there_are_rules_in_every_family() -> None:
    assert all(RULE_FAMILIES.load(name).RULES for name in RULE_FAMILIES.names())
    assert len(RULES) == len(rules()) > 30  # no id twice


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_rule_says_what_should_hold_for_whom_and_what_to_do(rule: LintRule) -> None:
    assert rule.id == rule.id.lower().replace(" ", "-").strip("-")
    assert rule.name
    assert len(rule.remedy) > 15
    assert rule.severities
    assert set(rule.severities) <= set(LINT_NAMES)
    assert set(rule.severities.values()) <= set(SEVERITIES)


def test_every_rule_has_graphs_and_every_graph_a_rule(covered: set[str]) -> None:
    assert set(RULES) == covered


@pytest.mark.parametrize("rule", list(RULES))
def test_a_rule_finds_nothing_where_nothing_is_wrong(rule: str, passing: Callable[[str], Any]) -> None:
    assert list(RULES[rule].check(QdqGraph(passing(rule)))) == []


@pytest.mark.parametrize("rule", list(RULES))
def test_a_rule_names_the_node_that_breaks_it(rule: str, failing: Callable[[str], tuple[Any, str]]) -> None:
    model, where = failing(rule)
    found = list(RULES[rule].check(QdqGraph(model)))
    assert [f.node for f in found][:1] == [where]
    assert all(f.what for f in found)


@pytest.mark.parametrize("rule", list(RULES))
def test_a_graph_that_breaks_a_rule_can_be_run_through_all_of_them(
    rule: str, failing: Callable[[str], tuple[Any, str]]
) -> None:
    found = list(lint(QdqGraph(failing(rule)[0])))
    assert rule in {p.rule.id for p in found}


@pytest.mark.parametrize("rule", [r for r in RULES if RULES[r].severities.get("tensorrt-rtx") == "error"])
def test_what_is_an_error_for_tensorrt_is_one_and_what_passes_parses(
    rule: str, passing: Callable[[str], Any], failing: Callable[[str], tuple[Any, str]]
) -> None:
    trt = pytest.importorskip("tensorrt_rtx")

    def parses(model: onnx.ModelProto) -> bool:
        logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
        network = trt.Builder(logger).create_network(0)
        return bool(trt.OnnxParser(network, logger).parse(model.SerializeToString()))

    assert parses(passing(rule))
    assert parses(failing(rule)[0]) == (rule not in REFUSED_BY_THE_PARSER)
