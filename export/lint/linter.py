"""Hold an ONNX file, anybody's, against the rules of ``export.lint``.

The folder is the registry: each public module there has ``RULES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from edgestill.errors import ArtifactError
from edgestill.registry import Registry

if TYPE_CHECKING:
    from export.lint.qdq_graph import QdqGraph

#: Who is to build or run the file.
Family = Literal["tensorrt", "tensorrt-rtx", "openvino", "onnxruntime"]
#: ``error``: it is refused, or gives wrong boxes; ``warning``: it is slower or less accurate than it could
#: be; ``note``: worth a look.
Severity = Literal["error", "warning", "note"]

FAMILIES: tuple[Family, ...] = get_args(Family)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

Matters = Mapping[Family, Severity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place where a rule does not hold.

    Attributes:
        node: The node, or the tensor that it makes where it has no name; empty if it is about the whole file.
        what: What is there, with its values.
    """

    node: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that should hold.

    Attributes:
        id: Its name in results, e.g. ``"activation-zero-point"``.
        name: What should hold, in words.
        matters: For whom, and how much.
        remedy: What to do where it does not hold.
        check: Finds the places.
    """

    id: str
    name: str
    matters: Matters
    remedy: str
    check: Callable[[QdqGraph], Iterator[Finding]]


def on_tensorrt(severity: Severity, **others: Severity) -> Matters:
    """The same for both of NVIDIA's engines, and something else for others."""
    return {"tensorrt": severity, "tensorrt-rtx": severity, **others}  # type: ignore[dict-item]


def everywhere(severity: Severity) -> Matters:
    """The same for all."""
    return dict.fromkeys(FAMILIES, severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A place where a rule does not hold.

    Attributes:
        rule: The rule.
        finding: The place.
        matters: For whom of those that were asked for, and how much.
    """

    rule: Rule
    finding: Finding
    matters: Matters


RULE_FAMILIES = Registry("export.lint.rules", "family of lint rules")


def rules() -> tuple[Rule, ...]:
    """All rules there are, by module and in its order."""
    return tuple(rule for name in RULE_FAMILIES.names() for rule in RULE_FAMILIES.load(name).RULES)


def read(path: Path) -> QdqGraph:
    """Read a file of anybody's to look at it: nothing of it runs, and its operators may be any.

    Raises:
        ArtifactError: It is not ONNX, or not safe to read, see ``runtime.onnx_guard.model``.
        DeviceError: The ``onnx`` package is not installed.
    """
    from runtime.onnx_guard.model import (  # noqa: PLC0415 (the names of rules are to be had without onnx)
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
            f"{path} is broken: {error!r}", hint="copy it again, or export the model again"
        ) from error


def lint(graph: QdqGraph, families: Sequence[Family] = FAMILIES) -> Iterator[Problem]:
    """Every place where a rule that matters to one of the families does not hold."""
    for rule in rules():
        matters: Matters = {family: rule.matters[family] for family in families if family in rule.matters}
        if matters:
            for finding in rule.check(graph):
                yield Problem(rule=rule, finding=finding, matters=matters)
