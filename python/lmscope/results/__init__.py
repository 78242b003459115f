"""The RUN folder: manifest, ledger and one record per matrix, written atomically by one process at a time."""

from lmscope.results.errors import ResultsError, RunLocked, WrongCheckpoint, WrongFolder
from lmscope.results.run_folder import RunFolder, record_key
from lmscope.results.run_tables import RunTables
from lmscope.results.schemas import LEDGER, SCHEMA_VERSION, SCHEMAS, SPECTRA

__all__ = [
    "LEDGER",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SPECTRA",
    "ResultsError",
    "RunFolder",
    "RunLocked",
    "RunTables",
    "WrongCheckpoint",
    "WrongFolder",
    "record_key",
]
