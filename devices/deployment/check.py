"""The check: all rules, in one table.

What TensorRT refuses comes from ``devices.tensorrt_rules``, which ``edgestill export`` and the runtime use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from devices.deployment import file_rules, platform_rules
from devices.deployment.question import Deployment
from devices.tensorrt_rules import Finding, Severity

RULES: tuple[Callable[[Deployment], Iterator[Finding]], ...] = (
    platform_rules.precision,
    platform_rules.slower,
    platform_rules.version,
    platform_rules.jetpack,
    platform_rules.interface,
    platform_rules.dla,
    platform_rules.rtx,
    file_rules.old_parser,
    file_rules.bf16,
    file_rules.free_axes,
    file_rules.file,
    file_rules.engine,
)
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


def check(deployment: Deployment) -> tuple[Finding, ...]:
    """What the rules find, errors first."""
    found = [finding for rule in RULES for finding in rule(deployment)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
