"""Finished turns, kept in a file as they end, so that a measurement can be made in pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgestill.errors import DataError
from edgestill.files import write_bytes


class TurnStore:
    """Turns of one measurement, a JSON line each.

    Args:
        path: The file; it is made with the first turn.

    Raises:
        DataError: A line is no turn. One that a stop cut off is left out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns: dict[tuple[int, str, str], Mapping[str, Any]] = {}
        self._conditions: list[Mapping[str, Any]] = []
        text = path.read_text("utf-8") if path.is_file() else ""
        whole, _, cut_off = text.rpartition("\n")
        for number, line in enumerate(whole.splitlines()):
            try:
                self._keep(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:  # noqa: PERF203 (some lines)
                raise DataError(f"{path} is damaged in line {number + 1}", hint=f"delete {path}") from error
        if cut_off:
            write_bytes(path, f"{whole}\n".encode() if whole else b"")

    @property
    def conditions(self) -> Sequence[Mapping[str, Any]]:
        """The conditions of each piece, in order."""
        return self._conditions

    def add_turn(self, number: int, row: str, sha256: str, figures: Mapping[str, Any], piece: str) -> None:
        """Keep a turn.

        Args:
            number: Of the round.
            row: Key of the row.
            sha256: Of the file that was run.
            figures: See ``benchmarks.peers.programs.take``.
            piece: Name of the run of this program, by its start.
        """
        self._write({"round": number, "row": row, "sha256": sha256, "piece": piece, "figures": figures})

    def add_conditions(self, conditions: Mapping[str, Any]) -> None:
        """Keep the conditions of a piece that ended."""
        self._write({"conditions": conditions})

    def turns(self, row: str, sha256: str) -> dict[int, Mapping[str, Any]]:
        """The turns of a row with this file, by round."""
        return {
            number: turn for (number, key, file), turn in self._turns.items() if (key, file) == (row, sha256)
        }

    def _write(self, line: Mapping[str, Any]) -> None:
        self._keep(line)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _keep(self, line: Mapping[str, Any]) -> None:
        if "conditions" in line:
            self._conditions.append(line)
        else:
            self._turns[int(line["round"]), line["row"], line["sha256"]] = line
