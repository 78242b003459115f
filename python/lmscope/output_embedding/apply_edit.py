"""Steering edits put into checkpoints, and taken out of them again without a trace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmscope import html_repr
from lmscope.checkpoints import Checkpoint, CheckpointError, open_checkpoint
from lmscope.checkpoints.new_folder import new_folder
from lmscope.checkpoints.safetensors_file import open_safetensors
from lmscope.checkpoints.stored_head import StoredHead, stored_head, stored_matrix
from lmscope.output_embedding.edit_file import load_steering
from lmscope.output_embedding.edit_record import EditRecord, Swap, read_record
from lmscope.output_embedding.edited_folder import (
    check_record,
    check_unchanged,
    copy_checkpoint,
    copy_record,
    put_rows,
    restore,
    start_record,
    untie,
)

if TYPE_CHECKING:
    from lmscope.output_embedding.steering import Steering

__all__ = ["EditedCheckpoint", "apply_steering", "remove_steering"]


@dataclass(frozen=True, repr=False, eq=False)
class EditedCheckpoint:
    """A checkpoint folder that :func:`apply_steering` or :func:`remove_steering` wrote.

    Attributes:
        path: the folder.
        head: name of the head.
        dtype: that the head is stored in.
        tokens: int64, shape (k,): whose rows were swapped.
        rounding: float64, shape (k,): what rounding to ``dtype`` took from the change of each row, as a share
            of the change (Euclidean norms); 0 where the edit was made in that dtype.
        tied: head and embedding share one tensor again, or still.
        edits: how many are in the checkpoint now.
    """

    path: Path
    head: str
    dtype: str
    tokens: NDArray[np.int64]
    rounding: NDArray[np.float64]
    tied: bool
    edits: int

    def __repr__(self) -> str:
        return (
            f"EditedCheckpoint({str(self.path)!r}, {len(self.tokens)} rows of {self.head} ({self.dtype}), "
            f"edits={self.edits}, tied={self.tied})"
        )

    def _repr_html_(self) -> str:
        facts = [
            ("head", f"{self.head}, {self.dtype}"),
            ("rows swapped", len(self.tokens)),
            ("rounding, largest share of a change", html_repr.number(float(self.rounding.max()))),
            ("tied to the embedding", "yes" if self.tied else "no"),
            ("edits in it", self.edits),
        ]
        return html_repr.block(str(self.path), html_repr.facts(facts))


def apply_steering(
    steering: Steering | str | os.PathLike[str],
    ckpt: str | os.PathLike[str] | Checkpoint,
    out: str | os.PathLike[str],
) -> EditedCheckpoint:
    """Writes ``out``: a copy of the checkpoint with the rows of the head as the edit has them.

    ``steering`` is an edit or the file of one, ``out`` a folder that is not there. Copied, not linked, are
    the weights, config, tokenizer and the other small files beside them; no folders, and no weights in other
    formats; of a hub id, what its snapshot in the cache holds, where :func:`load_model` puts the tokenizer.
    Rows are rounded to the checkpoint's dtype: ``rounding`` of the result says by how much, and
    :func:`rounded_to` gives the edit whose effect is that of the written checkpoint. A head that is tied is
    given a tensor and a file of its own, and the config says so. What was there before is kept in the folder
    ``lmscope_steering`` within ``out``, for :func:`remove_steering`. Memory: the rows and blocks of 16 MB.

    Raises:
        CheckpointError: rows other than those that the edit was made on (token, expected and found are
            named), no head, a quantised checkpoint or one that is not in safetensors files, ``out`` there
            already, a full disk: then nothing of ``out`` is left.
    """
    edit, checkpoint, head, record = _opened(steering, ckpt)
    swap, rounding = _swap(edit, head)
    _check_rows(edit, head, swap, "apply")
    if record is not None and head.tie != "own":
        raise CheckpointError(
            "its head is tied again, although edits are in it: take the folder that apply_steering wrote",
            file=checkpoint.path,
            tensor=head.name,
        )
    with new_folder(out) as folder:
        copy_checkpoint(checkpoint, folder)
        if record is None:
            record = start_record(checkpoint, head)
            record = untie(checkpoint, head, folder, record)
        else:
            copy_record(checkpoint, folder, record)
        record = record.with_edit(swap)
        record.write(folder)
        _put(folder, head, record, swap.tokens, swap.after)
    return _edited(out, head, swap, rounding, record)


def remove_steering(
    steering: Steering | str | os.PathLike[str],
    ckpt: str | os.PathLike[str] | Checkpoint,
    out: str | os.PathLike[str],
) -> EditedCheckpoint:
    """Writes ``out``: a copy of an edited checkpoint without the edit.

    Edits whose tokens differ come out in any order. With the last one config, index, names, times and every
    bit of every tensor are as before the first, and a head that was tied is tied again; what was changed in
    config or index since would be lost, so that the last one does not come out of such a folder.

    Raises:
        CheckpointError: the edit is not in the checkpoint; its rows, or for the last one config or index,
            have been changed since; the record is damaged; otherwise as :func:`apply_steering`.
    """
    edit, checkpoint, head, record = _opened(steering, ckpt)
    if record is None:
        raise CheckpointError(
            "no edit is in it: its record lmscope_steering/edits.json is missing",
            file=checkpoint.path,
            expected="a folder that apply_steering wrote",
        )
    swap, rounding = _swap(edit, head)
    if swap.digest not in record.edits:
        inside = "; ".join(f"an edit of tokens {tokens[:8]}" for tokens in record.edits.values())
        raise CheckpointError("the edit is not in it", file=checkpoint.path, found=inside)
    _check_rows(edit, head, swap, "remove")
    record = record.without_edit(swap)
    last = not record.edits
    if last and record.embedding is not None:
        check_unchanged(checkpoint, record)
        _check_tie(checkpoint, head, record.embedding, swap)
    with new_folder(out) as folder:
        # Its head is the embedding again.
        dropped = {record.head_file} if last and record.head_file else set()
        copy_checkpoint(checkpoint, folder, without=dropped)
        if not dropped:
            _put(folder, head, record, swap.tokens, swap.before)
        if last:
            restore(checkpoint, folder, record)
        else:
            copy_record(checkpoint, folder, record)
            record.write(folder)
    return _edited(out, head, swap, rounding, record)


def _opened(
    steering: Steering | str | os.PathLike[str], ckpt: str | os.PathLike[str] | Checkpoint
) -> tuple[Steering, Checkpoint, StoredHead, EditRecord | None]:
    edit = load_steering(steering) if isinstance(steering, (str, os.PathLike)) else steering
    checkpoint = ckpt if isinstance(ckpt, Checkpoint) else open_checkpoint(os.fspath(ckpt))
    head = stored_head(checkpoint)
    record = read_record(Path(checkpoint.path))
    if record is not None:
        check_record(checkpoint, record)
    return edit, checkpoint, head, record


def _swap(edit: Steering, head: StoredHead) -> tuple[Swap, NDArray[np.float64]]:
    """The edit's rows as the checkpoint would store them, and what that rounds away."""
    vocabulary, dimensions = head.matrix.shape
    if edit.rows_after.shape[1] != dimensions or int(edit.tokens.max()) >= vocabulary:
        raise CheckpointError(
            "a head of another size than the edit's",
            file=head.matrix.file.path,
            tensor=head.name,
            expected=f"{dimensions} dimensions and at most {vocabulary} tokens",
            found=f"rows of {edit.rows_after.shape[1]}, token {int(edit.tokens.max())}",
        )
    with np.errstate(over="ignore"):
        before, after = (rows.astype(head.matrix.dtype) for rows in (edit.rows_before, edit.rows_after))
    wanted, stored = edit.rows_after.astype(np.float64), after.astype(np.float64)
    finite = np.isfinite(stored).all(axis=1)
    if not finite.all():
        raise CheckpointError(
            f"the edited row of token {edit.tokens[finite.argmin()]} is too large for {head.matrix.dtype}",
            file=head.matrix.file.path,
            tensor=head.name,
        )
    change = np.linalg.norm(wanted - edit.rows_before.astype(np.float64), axis=1)
    lost = np.linalg.norm(stored - wanted, axis=1)
    share = np.divide(lost, change, out=np.zeros_like(lost), where=lost > 0)
    return Swap(np.asarray(edit.tokens, dtype=np.int64), before, after), share


def _check_rows(edit: Steering, head: StoredHead, swap: Swap, doing: Literal["apply", "remove"]) -> None:
    """Swapping is exact only where the rows there are bit for bit those that are expected."""
    there = head.matrix.rows(swap.tokens)
    expected, others = (swap.before, swap.after) if doing == "apply" else (swap.after, swap.before)
    wrong = (_bits(there) != _bits(expected)).any(axis=1)
    if not wrong.any():
        return
    first = int(wrong.argmax())
    token = int(swap.tokens[first])
    dimension = int((_bits(there[first]) != _bits(expected[first])).argmax()) // head.matrix.dtype.itemsize
    dtype = edit.rows_before.dtype
    if np.array_equal(_bits(there), _bits(others)):
        problem = "the edit is in it already" if doing == "apply" else "the edit was taken out of it"
    elif doing == "apply" and _is_rounded(there, edit.rows_before):
        problem = (
            f"the edit was made on its rows rounded to {dtype}, from which {head.matrix.dtype} does not come "
            f"back: load the model with dtype={str(head.matrix.dtype)!r} and steer it again"
        )
    else:
        made_on = f" {edit.label}, on which it was made" if edit.label else " that on which it was made"
        problem = f"the row of token {token} is not the one of the edit: another checkpoint than{made_on}" + (
            ", or one that was edited since" if doing == "apply" else ", or its rows were changed since"
        )
    raise CheckpointError(
        problem,
        file=head.matrix.file.path,
        tensor=head.name,
        expected=f"{float(expected[first, dimension])!r} at token {token}, dimension {dimension}",
        found=f"{float(there[first, dimension])!r}",
    )


def _is_rounded(rows: NDArray[Any], to: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return np.array_equal(_bits(rows.astype(to.dtype)), _bits(np.ascontiguousarray(to)))


def _bits(rows: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rows).view(np.uint8)


def _check_tie(checkpoint: Checkpoint, head: StoredHead, embedding: str, swap: Swap) -> None:
    """A tie can be given back only where the head without the edit is the embedding."""
    place = {int(token): index for index, token in enumerate(swap.tokens)}
    tied_to = stored_matrix(checkpoint, embedding)
    there, expected = (one.file.tensors[one.stored_name] for one in (head.matrix, tied_to))
    if (there.dtype, there.shape) != (expected.dtype, expected.shape):
        raise CheckpointError(
            f"the head was tied to {embedding}, which has another shape or dtype now",
            file=head.matrix.file.path,
            tensor=head.name,
            expected=f"{expected.dtype} {expected.shape}",
            found=f"{there.dtype} {there.shape}",
        )
    pairs = zip(head.matrix.blocks(), tied_to.blocks(), strict=True)
    for (start, rows), (_, embedded) in pairs:
        for token in place.keys() & set(range(start, start + len(rows))):
            rows[token - start] = swap.before[place[token]]
        differs = (_bits(rows) != _bits(embedded)).any(axis=1)
        if differs.any():
            raise CheckpointError(
                f"the head was tied to {embedding}, but the row of token {start + int(differs.argmax())} "
                "differs from it without this edit: something else changed one of the two",
                file=head.matrix.file.path,
                tensor=head.name,
            )


def _put(
    folder: Path, head: StoredHead, record: EditRecord, tokens: NDArray[np.int64], rows: NDArray[Any]
) -> None:
    if head.tie == "absent" and record.head_file is not None:
        path = folder / record.head_file
        put_rows(open_safetensors(path), path, head.name, tokens, rows)
        return
    file = head.matrix.file
    put_rows(file, folder / file.path.name, head.matrix.stored_name, tokens, rows)


def _edited(
    out: str | os.PathLike[str],
    head: StoredHead,
    swap: Swap,
    rounding: NDArray[np.float64],
    record: EditRecord,
) -> EditedCheckpoint:
    tied = record.tie != "own" and not record.edits
    path = Path(out).expanduser()
    return EditedCheckpoint(
        path, head.name, str(head.matrix.dtype), swap.tokens, rounding, tied, len(record.edits)
    )
