"""Which split a picture goes to: the source's own, or by sequence or city, never by single frames of one."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distill.datasets.formats._records import Record, Source
from edgestill.errors import UsageError

SPLITS = ("train", "val", "test")
FAR_OFF = 2.0  # times the share that was asked for

Mode = Literal["official", "sequence", "city"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """How pictures are split.

    Attributes:
        mode: ``official`` keeps the source's splits, ``sequence`` and ``city`` keep what was taken together
            together. None is ``official`` where every picture has a split, else ``sequence``.
        val_share: Share of the sequences (or cities) for ``val``; with ``official`` of those in ``train``,
            and only where the source has no ``val``.
        test_share: Share for ``test``; not with ``official``.
        seed: Another seed, another choice. The choice of a sequence does not depend on the others, so data
            that come later do not move it.
    """

    mode: Mode | None = None
    val_share: float = 0.1
    test_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.val_share, self.test_share) < 0 or self.val_share + self.test_share >= 1:
            raise UsageError(
                f"val of {self.val_share} and test of {self.test_share} leave nothing to train on",
                hint="e.g. --val-share 0.1 --test-share 0.1",
            )


@dataclass(frozen=True, slots=True)
class Assigned:
    """The outcome: one split for each record, how it came about, and what a user should know."""

    splits: list[str]
    mode: Mode
    warnings: list[str]


def assign(source: Source, plan: SplitPlan) -> Assigned:
    """Choose a split for each record of a source.

    Raises:
        UsageError: The source has no such splits or cities.
    """
    records = source.records
    official = all(record.split for record in records)
    mode: Mode = plan.mode or ("official" if official else "sequence")
    if mode == "official" and not official:
        raise UsageError("not every picture has an official split", hint="use --split sequence")
    if mode == "city" and not all(record.city for record in records):
        raise UsageError("this format does not tell cities", hint="use --split sequence")
    warnings = []
    if mode == "sequence" and plan.mode is None and any(record.split for record in records):
        warnings.append("only some pictures have an official split, so all were split by sequence")
    if mode == "official":
        splits = [record.split for record in records]
        if "val" not in splits:
            at = [i for i, split in enumerate(splits) if split == "train"]
            chosen = _by_hash([_group(records[i], mode) for i in at], {"val": plan.val_share}, plan.seed)
            for i, split in zip(at, chosen, strict=True):
                splits[i] = split
        if not source.has_sequences:
            return Assigned(splits, mode, warnings)
    else:
        shares = {"val": plan.val_share, "test": plan.test_share}
        splits = _by_hash([_group(record, mode) for record in records], shares, plan.seed)
        warnings += _far_off(splits, shares)
        if not source.has_sequences:
            warnings.append(
                "pictures were split one by one: if they are frames of videos, neighbours are now in "
                "different splits; --sequence REGEX tells what belongs together"
            )
    return Assigned(splits, mode, [*warnings, *_torn(records, splits)])


def _group(record: Record, mode: Mode) -> str:
    return record.city if mode == "city" else record.sequence


def _by_hash(groups: Sequence[str], shares: dict[str, float], seed: int) -> list[str]:
    """A split for each item, the same for all of a group."""
    if not groups:
        return []
    place = {group: _place(seed, group) for group in sorted(set(groups))}
    chosen = {group: _where(x, shares) for group, x in place.items()}
    for split in ("train", *(name for name, share in shares.items() if share > 0)):
        # With few groups chance may leave a split empty; the split with the most gives one.
        counts = Counter(chosen.values())
        if not counts[split]:
            donor, most = counts.most_common(1)[0]
            if most > 1 or split == "train":
                given = min((g for g in place if chosen[g] == donor), key=place.__getitem__)
                chosen[given] = split
    return [chosen[group] for group in groups]


def _where(x: float, shares: dict[str, float]) -> str:
    """The split at ``x`` of [0, 1), with the shares from 0 on and ``train`` behind."""
    for split, share in shares.items():
        if x < share:
            return split
        x -= share
    return "train"


def _place(seed: int, group: str) -> float:
    """A number in [0, 1) that seed and name alone decide."""
    digest = hashlib.blake2b(f"{seed}/{group}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _far_off(splits: Sequence[str], shares: dict[str, float]) -> list[str]:
    counts = Counter(splits)
    warnings = []
    for split, share in shares.items():
        found = counts[split] / len(splits)
        if share > 0 and not share / FAR_OFF <= found <= share * FAR_OFF:
            warnings.append(
                f"{split} has {found:.0%} of the pictures where {share:.0%} was asked for: there are few "
                "sequences, or long ones; another --seed chooses others"
            )
    return warnings


def _torn(records: Sequence[Record], splits: Sequence[str]) -> list[str]:
    """A warning if official splits share a sequence."""
    found: dict[str, set[str]] = defaultdict(set)
    for record, split in zip(records, splits, strict=True):
        found[record.sequence].add(split)
    torn = sorted(group for group, places in found.items() if len(places) > 1)
    if not torn:
        return []
    return [f"{len(torn)} sequences are in more than one official split, the first {torn[0]}"]
