"""The RUN folder: manifest, ledger, records of matrices and of pairs; atomic, one writer at a time."""

from lmscope.results.errors import ResultsError, RunLocked, WrongCheckpoint, WrongFolder
from lmscope.results.run_folder import RunFolder, own_names, record_key
from lmscope.results.run_tables import RunTables
from lmscope.results.schemas import (
    ICL_ANALYSES,
    LEDGER,
    LOCATION_ANALYSES,
    PAIR_ANALYSES,
    SCHEMA_VERSION,
    SCHEMAS,
    SPECTRA,
    TOKEN_ANALYSES,
    UNEMBEDDING_ANALYSES,
)

__all__ = [
    "ICL_ANALYSES",
    "LEDGER",
    "LOCATION_ANALYSES",
    "PAIR_ANALYSES",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SPECTRA",
    "TOKEN_ANALYSES",
    "UNEMBEDDING_ANALYSES",
    "ResultsError",
    "RunFolder",
    "RunLocked",
    "RunTables",
    "WrongCheckpoint",
    "WrongFolder",
    "own_names",
    "record_key",
]
