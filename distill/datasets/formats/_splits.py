"""Assignment of images to splits: those of the source, or by whole sequences or cities."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distill.datasets.formats._records import ImageRecord, SourceDataset
from edgestill.errors import UsageError

SPLITS = ("train", "val", "test")
SHARE_TOLERANCE = 2.0  # ratio to the requested share

Mode = Literal["official", "sequence", "city"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How images are split.

    Attributes:
        mode: ``official`` keeps the splits of the source; ``sequence`` and ``city`` assign whole sequences
            or cities. None is ``official`` where every image has a split, else ``sequence``.
        val_share: Share of the sequences (or cities) for ``val``; with ``official`` of those in ``train``,
            and only where the source has no ``val``.
        test_share: Share for ``test``; not with ``official``.
        seed: Of the hash. The split of a sequence does not depend on the others, so later data do not
            change it.
    """

    mode: Mode | None = None
    val_share: float = 0.1
    test_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.val_share >= 0 and self.test_share >= 0 and self.val_share + self.test_share < 1):
            raise UsageError(
                f"val of {self.val_share} and test of {self.test_share} leave nothing to train on",
                hint="e.g. --val-share 0.1 --test-share 0.1",
            )


@dataclass(frozen=True, slots=True)
class SplitAssignment:
    """The split of each record, the mode that was used, and warnings."""

    splits: list[str]
    mode: Mode
    warnings: list[str]


def assign(source: SourceDataset, split_settings: SplitSettings) -> SplitAssignment:
    """Choose a split for each record of a source.

    Raises:
        UsageError: The source has no such splits or cities.
    """
    records = source.records
    official = all(record.split for record in records)
    mode: Mode = split_settings.mode or ("official" if official else "sequence")
    if mode == "official" and not official:
        raise UsageError("not every image has an official split", hint="use --split sequence")
    if mode == "city" and not all(record.city for record in records):
        raise UsageError("this format has no cities", hint="use --split sequence")
    warnings = []
    if mode == "sequence" and split_settings.mode is None and any(record.split for record in records):
        warnings.append("only some images have an official split, so all were split by sequence")
    if mode == "official":
        splits = [record.split for record in records]
        if "val" not in splits:
            at = [i for i, split in enumerate(splits) if split == "train"]
            chosen = _by_hash(
                [_group(records[i], mode) for i in at], {"val": split_settings.val_share}, split_settings.seed
            )
            for i, split in zip(at, chosen, strict=True):
                splits[i] = split
        if not source.has_sequences:
            return SplitAssignment(splits, mode, warnings)
    else:
        shares = {"val": split_settings.val_share, "test": split_settings.test_share}
        splits = _by_hash([_group(record, mode) for record in records], shares, split_settings.seed)
        warnings += _share_warnings(splits, shares)
        if not source.has_sequences:
            warnings.append(
                "images were split one by one: if they are frames of videos, neighbours are now in "
                "different splits; --sequence REGEX finds the sequence in a file name"
            )
    return SplitAssignment(splits, mode, [*warnings, *_shared_sequence_warnings(records, splits)])


def _group(record: ImageRecord, mode: Mode) -> str:
    return record.city if mode == "city" else record.sequence


def _by_hash(groups: Sequence[str], shares: dict[str, float], seed: int) -> list[str]:
    """A split for each item, the same for all of a group."""
    if not groups:
        return []
    hashes = {group: _unit_hash(seed, group) for group in sorted(set(groups))}
    chosen = {group: _split_at(x, shares) for group, x in hashes.items()}
    for split in ("train", *(name for name, share in shares.items() if share > 0)):
        # With few groups a split may be empty by chance; the largest split then gives up one group.
        counts = Counter(chosen.values())
        if not counts[split]:
            donor, most = counts.most_common(1)[0]
            if most > 1 or split == "train":
                given = min((g for g in hashes if chosen[g] == donor), key=hashes.__getitem__)
                chosen[given] = split
    return [chosen[group] for group in groups]


def _split_at(x: float, shares: dict[str, float]) -> str:
    """The split at ``x`` of [0, 1), with the shares from 0 on and ``train`` behind."""
    for split, share in shares.items():
        if x < share:
            return split
        x -= share
    return "train"


def _unit_hash(seed: int, group: str) -> float:
    """A number in [0, 1), a pure function of seed and name."""
    digest = hashlib.blake2b(f"{seed}/{group}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _share_warnings(splits: Sequence[str], shares: dict[str, float]) -> list[str]:
    counts = Counter(splits)
    warnings = []
    for split, share in shares.items():
        found = counts[split] / len(splits)
        if share > 0 and not share / SHARE_TOLERANCE <= found <= share * SHARE_TOLERANCE:
            warnings.append(
                f"{split} has {found:.0%} of the images instead of {share:.0%}: there are few "
                "sequences, or long ones; another --seed assigns others"
            )
    return warnings


def _shared_sequence_warnings(records: Sequence[ImageRecord], splits: Sequence[str]) -> list[str]:
    """A warning if official splits share a sequence."""
    found: dict[str, set[str]] = defaultdict(set)
    for record, split in zip(records, splits, strict=True):
        found[record.sequence].add(split)
    shared = sorted(group for group, splits_ in found.items() if len(splits_) > 1)
    if not shared:
        return []
    return [f"{len(shared)} sequences are in more than one official split, the first {shared[0]}"]
