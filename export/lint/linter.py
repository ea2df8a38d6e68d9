"""Check an ONNX file of any origin by the rules of ``export.lint.rules``.

Each public module of that folder has ``RULES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from edgestill.errors import ArtifactError
from edgestill.registry import Registry
from edgestill.target import Target

if TYPE_CHECKING:
    from export.lint.qdq_graph import QdqGraph

#: ``error``: the target refuses the file or computes wrong boxes; ``warning``: the file is slower or less
#: accurate than it could be; ``note``: worth knowing.
Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)

Severities = Mapping[Target, Severity]
#: How the command line and its JSON name the targets of a lint, in the order of a result.
LINT_NAMES: Mapping[Target, str] = {
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt-rtx",
    "openvino": "openvino",
    "onnx": "onnxruntime",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation of a rule in a file.

    Attributes:
        node: The node, or its output if it has no name; empty for the whole file.
        what: What was found, with values.
    """

    node: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRule:
    """A rule.

    Attributes:
        id: Its name in results, e.g. ``"activation-zero-point"``.
        name: What the rule requires, as a sentence.
        severities: By target to which it applies, the severity.
        remedy: What to do about a violation.
        check: Finds the violations in a graph.
    """

    id: str
    name: str
    severities: Severities
    remedy: str
    check: Callable[[QdqGraph], Iterator[Finding]]


def on_tensorrt(severity: Severity, **others: Severity) -> Severities:
    """One severity for both TensorRT targets, and others for other targets."""
    return {"tensorrt": severity, "tensorrt-rtx": severity, **others}  # type: ignore[dict-item]


def on_all_targets(severity: Severity) -> Severities:
    """One severity for all targets."""
    return dict.fromkeys(LINT_NAMES, severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A finding with its rule.

    Attributes:
        rule: The rule.
        finding: The finding.
        severities: By requested target to which the rule applies, the severity.
    """

    rule: LintRule
    finding: Finding
    severities: Severities


RULE_FAMILIES = Registry("export.lint.rules", "family of lint rules")


def rules() -> tuple[LintRule, ...]:
    """All rules, by module and in its order."""
    return tuple(rule for name in RULE_FAMILIES.names() for rule in RULE_FAMILIES.load(name).RULES)


def read(path: Path) -> QdqGraph:
    """Read a file of any origin, with any operators; it is not run.

    Raises:
        ArtifactError: The file is not ONNX, is invalid, or is unsafe to read, see
            ``runtime.onnx_guard.model``.
        DeviceError: The ``onnx`` package is not installed.
    """
    from runtime.onnx_guard.model import (  # noqa: PLC0415 (the rules can be listed without onnx)
        open_onnx,
    )

    model = open_onnx(path, custom_operators=True)
    from onnx import TensorProto, external_data_helper, inliner  # noqa: PLC0415

    from export.lint.qdq_graph import QdqGraph  # noqa: PLC0415

    try:
        if any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer):
            external_data_helper.load_external_data_for_model(model, str(path.parent))
        return QdqGraph(inliner.inline_local_functions(model) if model.functions else model)
    except ArtifactError:
        raise
    except Exception as error:  # onnx raises types of its own for what its checker would find
        raise ArtifactError(
            f"{path} is invalid: {error!r}", hint="copy it again, or export the model again"
        ) from error


def lint(graph: QdqGraph, targets: Iterable[Target] = LINT_NAMES) -> Iterator[Violation]:
    """The violations of all rules that apply to one of the targets.

    Raises:
        ArtifactError: The graph is invalid, e.g. a node lacks an input or a weight has no channels.
    """
    for rule in rules():
        severities: Severities = {
            target: rule.severities[target] for target in targets if target in rule.severities
        }
        if severities:
            for finding in _findings(rule, graph):
                yield Violation(rule=rule, finding=finding, severities=severities)


def _findings(rule: LintRule, graph: QdqGraph) -> list[Finding]:
    try:
        return list(rule.check(graph))
    except (LookupError, ValueError, TypeError) as error:  # of nodes and tensors that ONNX does not allow
        raise ArtifactError(
            f"the graph is invalid: the rule {rule.id} met {error!r}",
            hint="copy the file again, or export the model again",
        ) from error
