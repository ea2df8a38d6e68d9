"""Sequences and cities stay whole, whatever the shares and the seed."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.datasets.convert import convert_dataset
from distill.datasets.formats._records import ImageRecord, SourceDataset
from distill.datasets.formats._splits import SplitSettings, assign
from edgestill.errors import UsageError


def source(sequences: int, frames: int = 3, **record: Any) -> SourceDataset:
    records = [
        ImageRecord(path=Path("x.jpg"), name=f"{s}-{f}", sequence=f"s{s}", **record)
        for s in range(sequences)
        for f in range(frames)
    ]
    return SourceDataset(dialect="voc", records=records)


def by_sequence(found: SourceDataset, splits: list[str]) -> dict[str, set[str]]:
    places: dict[str, set[str]] = defaultdict(set)
    for record, split in zip(found.records, splits, strict=True):
        places[record.sequence].add(split)
    return places


@settings(deadline=None)  # the machine may be busy
@given(
    sequences=st.integers(1, 60),
    seed=st.integers(0, 1000),
    shares=st.sampled_from([(0.1, 0.1), (0.5, 0.3), (0, 0.2), (0, 0)]),
)
def test_a_sequence_is_never_torn_and_some_are_left_to_train_on(
    sequences: int, seed: int, shares: tuple[float, float]
) -> None:
    found = source(sequences)
    split_settings = SplitSettings(val_share=shares[0], test_share=shares[1], seed=seed)
    splits = assign(found, split_settings).splits
    assert all(len(places) == 1 for places in by_sequence(found, splits).values())
    assert "train" in splits
    wanted = {s for s, share in zip(("val", "test"), shares, strict=True) if share}
    assert set(splits) <= {"train", *wanted}
    if sequences > 2:
        assert set(splits) == {"train", *wanted}


def test_shares_hold_about_where_there_are_many_sequences() -> None:
    found = source(2000, frames=1)
    splits = assign(found, SplitSettings(val_share=0.2, test_share=0.1)).splits
    assert splits.count("val") / 2000 == pytest.approx(0.2, abs=0.03)
    assert splits.count("test") / 2000 == pytest.approx(0.1, abs=0.03)


def test_the_seed_decides_and_nothing_else() -> None:
    found = source(50)
    assert assign(found, SplitSettings(seed=3)).splits == assign(found, SplitSettings(seed=3)).splits
    assert assign(found, SplitSettings(seed=3)).splits != assign(found, SplitSettings(seed=4)).splits


def test_more_data_do_not_move_what_was_there() -> None:
    before, after = source(100, frames=1), source(200, frames=1)
    assert assign(after, SplitSettings()).splits[:100] == assign(before, SplitSettings()).splits


def test_shares_that_come_out_far_off_are_told() -> None:
    found = source(3)
    assert any("another --seed" in warning for warning in assign(found, SplitSettings()).warnings)


def test_an_official_split_without_val_gives_whole_training_sequences_to_val() -> None:
    found = source(40, split="train")
    found.records += source(5, split="test").records
    result = assign(found, SplitSettings(val_share=0.2))
    assert result.mode == "official"
    assert result.splits[120:] == ["test"] * 15
    assert set(result.splits[:120]) == {"train", "val"}
    training = SourceDataset(dialect="voc", records=found.records[:120])
    assert all(len(places) == 1 for places in by_sequence(training, result.splits[:120]).values())


def test_an_official_val_is_left_alone() -> None:
    found = source(10, split="train")
    found.records += source(1, split="val").records
    assert assign(found, SplitSettings(val_share=0.5)).splits == ["train"] * 30 + ["val"] * 3


def test_official_splits_that_share_a_sequence_are_told() -> None:
    found = source(4, split="train")
    found.records += source(1, split="test").records
    assert any("s0" in warning for warning in assign(found, SplitSettings(val_share=0)).warnings)


def test_splits_that_only_some_pictures_have_do_not_count() -> None:
    found = source(10, split="train")
    found.records += source(10).records
    result = assign(found, SplitSettings())
    assert result.mode == "sequence"
    assert any("only some" in warning for warning in result.warnings)
    with pytest.raises(UsageError, match="official"):
        assign(found, SplitSettings(mode="official"))


def test_cities_stay_whole() -> None:
    records = [r for c in ("Berlin", "Ulm", "Essen", "Fulda") for r in source(5, city=c).records]
    found = SourceDataset(dialect="dtld", records=records)
    splits = assign(found, SplitSettings(mode="city")).splits
    places: dict[str, set[str]] = defaultdict(set)
    for record, split in zip(records, splits, strict=True):
        places[record.city].add(split)
    assert all(len(s) == 1 for s in places.values())
    assert set().union(*places.values()) == {"train", "val", "test"}


def test_a_format_without_cities_cannot_be_split_by_them() -> None:
    with pytest.raises(UsageError, match="cities"):
        assign(source(3), SplitSettings(mode="city"))


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.1), (1, 0)])
def test_shares_that_leave_nothing_are_a_usage_error(shares: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="nothing to train on"):
        SplitSettings(val_share=shares[0], test_share=shares[1])


@pytest.mark.parametrize("mode", [None, "sequence", "city"])
def test_a_converted_set_keeps_sequences_apart(dtld: Any, out: Any, mode: Any) -> None:
    sequence_of = {}
    for city in ("Berlin", "Essen", "Fulda"):
        for crossing in range(3):
            for _ in range(2):
                where = f"{city}/{city}1/2015-04-17_10-50-0{crossing}"
                split = "test" if crossing == 2 else "train"
                sequence_of[dtld.add(split, where, [])] = city if mode == "city" else where
    convert_dataset("dtld", dtld.write(), out.path, split_settings=SplitSettings(mode=mode, val_share=0.2))
    places: dict[str, set[str]] = defaultdict(set)
    for name, split in out.splits().items():
        places[sequence_of[name]].add(split)
    assert len(out.splits()) == 18
    assert all(len(found) == 1 for found in places.values())
    assert set().union(*places.values()) == {"train", "val", "test"}
