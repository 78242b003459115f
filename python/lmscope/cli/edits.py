"""Edits on the command line: tokens and factors in words, and files that are put into checkpoints."""

from __future__ import annotations

import os
from collections.abc import Sequence

import typer

from lmscope.cli.output import message, print_json


def token_of(given: str) -> int | str:
    """An id, written as #5123, or the token itself."""
    digits = given.removeprefix("#")
    return int(digits) if given.startswith("#") and digits.isdecimal() else given


def edits_of(given: Sequence[str]) -> dict[int | str, float]:
    """Factors by token, of ``TOKEN=FACTOR``; a token may hold ``=`` itself."""
    from lmscope.runs.errors import UsageError
    from lmscope.runs.settings import real_number

    found: dict[int | str, float] = {}
    for one in given:
        written, equals, factor = one.rpartition("=")
        if not equals or not written:
            raise UsageError(f"edit: {one!r} is not TOKEN=FACTOR, such as ' house=5' or '#5123=0.1'")
        token = token_of(written)
        if token in found:
            raise UsageError(f"edit: token {written!r} is given twice")
        found[token] = real_number(f"edit: {written!r}", factor)
    return found


_WITH_A_COPY = {"checkpoints", "apply_edit", "remove_edit", "to", "json", "quiet"}


def refuse_others(context: typer.Context) -> None:
    """Raise `UsageError` for an option that was given and that writing a copy does not read."""
    from lmscope.runs.errors import UsageError

    given = [
        option.opts[-1]
        for option in context.command.params
        if option.name not in _WITH_A_COPY
        and option.name is not None
        and getattr(context.get_parameter_source(option.name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)}: not read where an edit is put into a copy or taken out of one; leave "
            f"{'it' if len(given) == 1 else 'them'} out"
        )


def apply_or_remove(
    checkpoints: Sequence[str],
    *,
    apply: str | None,
    remove: str | None,
    to: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the copy and say where it is, and what rounding to the checkpoint's dtype did."""
    from lmscope.output_embedding.apply_edit import apply_steering, remove_steering
    from lmscope.runs.errors import UsageError

    if (apply is None) == (remove is None):
        raise UsageError("to: give the file of one edit, --apply-edit FILE or --remove-edit FILE")
    if to is None:
        raise UsageError("to: give the new folder that the copy goes to, --to FOLDER")
    if os.path.lexists(to):
        raise UsageError(f"to: {to!r} exists already; give a new folder")
    if len(checkpoints) != 1:
        raise UsageError(f"an edit is put into one checkpoint at a time; {len(checkpoints)} are given")
    if apply is not None:
        found = apply_steering(apply, checkpoints[0], to)
    else:
        assert remove is not None
        found = remove_steering(remove, checkpoints[0], to)
    rounding = float(found.rounding.max())
    if as_json:
        print_json(
            {
                "path": str(found.path),
                "head": found.head,
                "dtype": found.dtype,
                "tokens": found.tokens.tolist(),
                "rounding": found.rounding.tolist(),
                "tied": found.tied,
                "edits": found.edits,
            }
        )
        return
    if rounding and not quiet:
        message(
            "warning",
            f"the rows were rounded to {found.dtype}, which took up to {rounding:.2g} of a change away; an "
            "edit made with --dtype auto is in the checkpoint's own type",
        )
    typer.echo(found.path)
