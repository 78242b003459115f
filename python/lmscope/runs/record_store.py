"""Records of analyses that run the model: what stands in a result folder, what is written, what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmscope.results import RunFolder


class RecordStore:
    """The locked folder of the checkpoint `identity`, under the settings of each analysis.

    A record has a name of its own: a layer of a checkpoint, a passage, a pair of texts, a lesion.
    """

    def __init__(self, folder: RunFolder, identity: str, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self._folder = folder
        self._identity = identity
        self._settings = settings

    def has(self, analysis: str, name: str) -> bool:
        return self._folder.has(analysis, self._key(analysis, name))

    def write(self, analysis: str, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        self._folder.write(analysis, self._key(analysis, name), *rows)

    def under(self, settings: Mapping[str, Mapping[str, Any]]) -> RecordStore:
        """The same folder under other settings."""
        return RecordStore(self._folder, self._identity, settings)

    def rows(self, analysis: str, name: str) -> list[dict[str, Any]]:
        """Of one record; none where it does not stand."""
        key = self._key(analysis, name)
        return self._folder.rows(analysis, [key]).to_pylist() if self._folder.has(analysis, key) else []

    def stage(self, analysis: str, name: str) -> dict[str, Any]:
        """What a killed call had found towards a record; {} without."""
        return self._folder.stage(analysis, self._key(analysis, name))

    def keep_stage(self, analysis: str, name: str, content: Mapping[str, Any] | None) -> None:
        """Keep what is found towards a record; None: it is no longer needed."""
        self._folder.write_stage(analysis, self._key(analysis, name), content)

    def settle(self, analysis: str, tried: Iterable[str], failed: Mapping[str, str]) -> None:
        """Keep why records failed; those that were `tried` and did not fail again are over."""
        kept = self._folder.failures(analysis)
        for name in tried:
            kept.pop(name, None)
        self._folder.write_failures(analysis, {**kept, **failed})

    def beside(self, analysis: str, name: str, suffix: str) -> Path:
        """Where a file that belongs to a record goes; its folder is made."""
        path = self._folder.path / analysis / f"{self._key(analysis, name)}{suffix}"
        path.parent.mkdir(exist_ok=True)
        return path

    def _key(self, analysis: str, name: str) -> str:
        from lmscope import __version__

        return self._folder.record_key(self._identity, name, analysis, self._settings[analysis], __version__)
