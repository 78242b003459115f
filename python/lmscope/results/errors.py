"""Errors of the RUN folder; every message names the file or folder."""

from __future__ import annotations


class ResultsError(Exception):
    """A RUN folder or one of its files cannot be read or written."""


class RunLocked(ResultsError):
    """Another process writes to this RUN folder."""


class WrongFolder(ResultsError):
    """This path cannot be the RUN folder: another one must be chosen."""


class WrongCheckpoint(WrongFolder):
    """The RUN folder holds the results of another checkpoint."""
