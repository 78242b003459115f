"""What the token analyses found, in sentences that claim no more than the intervals allow."""

from __future__ import annotations

from lmscope.report.entropy_rows import by_checkpoint
from lmscope.report.records import Records, Row
from lmscope.report.token_evidence import caveat, missing_positions, tells_apart
from lmscope.report.token_methods import METHODS, WITHOUT_BUDGET
from lmscope.report.words import count, listing, number

_BUDGETED = METHODS.keys() - set(WITHOUT_BUDGET)
_PREFERRED_K = 8


def token_sentences(records: Records) -> list[str]:
    """One of the selection and one of the entropy, as far as the run holds them."""
    return [*_missing(records), *_selection(records), *_entropy(records)]


def _missing(records: Records) -> list[str]:
    asked = records.settings("positions")
    if not asked:
        return []
    found, failed = len(records.rows("positions")), bool(records.failures("selection"))
    text = missing_positions(found, asked["positions"], asked["min_context"], failed=failed)
    return [text] if text else []


def _selection(records: Records) -> list[str]:
    means = [row for row in records.selection_means if row["method"] in _BUDGETED]
    if not means:
        return []
    held = {row["score"] for row in means}
    by_kl = "kl_deleted" in held
    score = "kl_deleted" if by_kl else "ridge_residual"
    k = min({row["k"] for row in means}, key=lambda one: abs(one - _PREFERRED_K))
    rows = sorted(
        (row for row in means if (row["score"], row["k"]) == (score, k)), key=lambda row: row["mean"]
    )
    if not rows:
        return []
    best = rows[0]
    judged = (
        "the model's next-token prediction stays nearest to that of the whole prompt with "
        if by_kl
        else "the smallest ridge residual (own ground of Lasso and matching pursuit) is left by "
    )
    compared = ("lasso", "attention", "attention_without_sinks", "random")
    beside = [row for row in rows[1:] if row["method"] in compared]
    tell_apart = tells_apart(best["clusters"], best["clustered_by"])
    kept = f"At {count(best['positions'], 'sampled position')} and {count(k, 'token')} kept"
    sentence = f"{kept}, {judged}{_said(best, unit=by_kl, interval=tell_apart)}"
    if beside:
        sentence += f", beside {listing([_said(row, unit=False, interval=tell_apart) for row in beside])}"
    chosen = f"The first is the best of {len(rows)} selectors at the same positions: its lead is flattered."
    warned = caveat(best["clusters"], best["clustered_by"])
    told = [f"{sentence}.", _paired(rows) if tell_apart else "", chosen, warned]
    return [" ".join(filter(None, told))]


def _paired(rows: list[Row]) -> str:
    """Lasso against attention, with its sinks and without, at the same positions."""
    by_method = {row["method"]: row for row in rows}
    told = []
    for other in ("attention", "attention_without_sinks"):
        row = by_method.get(other)
        if row is None or row["minus_lasso_low"] is None:
            continue
        mean, low, high = -row["minus_lasso"], -row["minus_lasso_high"], -row["minus_lasso_low"]
        unclear = ", not told apart" if low <= 0 <= high else ""
        told.append(f"{_label(row)} {number(mean)} (95 % {number(low)} to {number(high)}{unclear})")
    return f"Position by position, Lasso's mean less that of {listing(told)}." if told else ""


def _said(row: Row, *, unit: bool, interval: bool) -> str:
    kl = f"KL {number(row['mean'])} nats" if unit else number(row["mean"])
    ends = f", 95 % {number(row['low'])} to {number(row['high'])}" if interval else ""
    return f"{_label(row)} ({kl}{ends})"


def _label(row: Row) -> str:
    return METHODS[row["method"]].label


def _entropy(records: Records) -> list[str]:
    checkpoints = by_checkpoint(records)
    own = records.checkpoint.get("identity")
    one = next((one for one in checkpoints if one.last["identity"] == own), None)
    if one is None:
        return []
    row = one.last
    beside = [f"random rows have {number(row['iid_normalized'])}"]
    if row["untrained_normalized"] is not None:
        beside.append(f"the untrained twin {number(row['untrained_normalized'])}")
    return [
        f"The normalized entropy of the last layer read is {number(row['normalized'])} over "
        f"{count(row['tokens'], 'token')} in {number(row['dimensions'])} dimensions; {listing(beside)}."
    ]
