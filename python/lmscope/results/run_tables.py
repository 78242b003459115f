"""The tables of a run folder, each read once and again only where the folder changed."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from lmscope.results.q_values import with_q_values
from lmscope.results.run_folder import LEDGER_FILE, MANIFEST, RunFolder

Stamp = tuple[tuple[str, int, int], ...]


class RunTables:
    """Reading takes no lock: of a run that another process is writing, the records that stand by now."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._read: dict[str, tuple[Stamp, pa.Table]] = {}

    def table(self, analysis: str) -> pa.Table:
        """Records of one analysis as `RunFolder.rows` gives them, of the spectra with their q-values."""
        stamp = self.stamp()
        known = self._read.get(analysis)
        if known is None or known[0] != stamp:
            table = self.folder.rows(analysis)
            known = stamp, with_q_values(table) if analysis == "spectra" else table
            self._read[analysis] = known
        return known[1]

    def at_hand(self, analysis: str) -> bool:
        """Whether `table` would read nothing."""
        return analysis in self._read and self._read[analysis][0] == self.stamp()

    def stamp(self) -> Stamp:
        """Changes with the manifest, the ledger, the number of records and where one is replaced."""
        path = self.folder.path
        places = [
            path / MANIFEST,
            path / LEDGER_FILE,
            *(path / name for name in self.folder.manifest["settings"]),
        ]
        return tuple((place.name, *_state(place)) for place in places)


def _state(place: Path) -> tuple[int, int]:
    """When it was written to, and its size: of a folder, how many names are in it."""
    try:
        status = place.stat()
        return status.st_mtime_ns, len(os.listdir(place)) if place.is_dir() else status.st_size
    except FileNotFoundError:
        return 0, 0
