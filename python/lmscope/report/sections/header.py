"""Which model, or which experiments, and the answer in two sentences."""

from __future__ import annotations

from collections import Counter

from lmscope.analyses.moved_matrices import moved_matrices
from lmscope.analyses.nulls import SMALLEST_SIDE
from lmscope.report.icl_words import icl_summary
from lmscope.report.location_rows import lesion_remarks, remarks
from lmscope.report.location_words import location_sentences
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.token_words import token_sentences
from lmscope.report.unembedding_words import unembedding_sentences
from lmscope.report.words import count, listing, percent, plain
from lmscope.results import TOKEN_ANALYSES

ORDER = 10

_TEMPLATE = """
<p class="kicker">lmscope report</p>
<h1>{{ model }}</h1>
<p class="about">{{ about | join(" · ") }}</p>
<p class="verdict">{{ verdict }}</p>
{% for more in others %}<p class="verdict second">{{ more }}</p>{% endfor %}
{% for text in limits %}<p class="warning">{{ text }}</p>{% endfor %}
<ul class="tiles">
{% for value, label, status in tiles %}
  <li class="{{ status }}"><b>{{ value | number }}</b> {{ label }}</li>
{% endfor %}
</ul>
"""


def section(records: Records) -> Section:
    if records.without_checkpoint:
        return Section("summary", "", _TEMPLATE, icl_summary(records))
    statuses = Counter(row["status"] for row in records.ledger)
    tiles = [(len(records.ledger), "tensors in the ledger", "")]
    tiles += [
        (statuses[status], plain(status), status) for status in ("analysed", "skipped", "refused", "failed")
    ]
    tiles += [
        (number, plain(status), status)
        for status, number in statuses.items()
        if (number, plain(status), status) not in tiles
    ]
    if records.analyses and set(records.analyses) <= TOKEN_ANALYSES:
        tiles = [
            (len(records.rows("entropy")), "layers with an entropy", ""),
            (len(records.rows("positions")), "sampled positions", ""),
            (len(records.rows("passages")), "passages", ""),
        ]
    more = [*token_sentences(records), *location_sentences(records), *unembedding_sentences(records)]
    verdict, *others = filter(None, [_verdict(records, told=bool(more)), _doubt(records), *more])
    values = {
        "model": records.title,
        "about": _about(records),
        "verdict": verdict,
        "others": others,
        "limits": [*remarks(records), *lesion_remarks(records)],
        "tiles": tiles,
    }
    return Section("summary", "", _TEMPLATE, values)


def _about(records: Records) -> list[str]:
    identity = str(records.checkpoint.get("identity") or "")
    told = ""
    if records.title != records.model:
        identity = str(records.shown_identity)
        told = f"of {count(len(records.located), 'checkpoint')} in this run"
    words = [records.checkpoint.get("model_type"), told, identity and f"identity {identity[:12]}…"]
    return [str(word) for word in words if word]


def _verdict(records: Records, *, told: bool) -> str:
    """Of the weights' spectra; empty where there are none and other sentences have been ``told``."""
    moved = _moved(records)
    if not records.spectra and moved:
        return moved
    if not records.spectra and {"similarity", "twins"} & set(records.analyses):
        return "This run compares matrices with each other; no spectra have been computed in it."
    if not records.spectra and told:
        return ""
    if not records.spectra:
        return "No spectra have been computed in this run yet: the ledger below says what was found and why."
    tested = [row for row in records.spectra if row["learnt"] is not None]
    if not tested:
        return (
            f"{_matrices(records.spectra)} analysed, but none against random sign flips, so nothing is said "
            "here about how much was learnt."
        )
    carrying = [row for row in tested if row["learnt"] > 0]
    noise = "singular values above what random sign flips of the same entries give"
    if not carrying:
        return f"Of {_matrices(tested)} none carries {noise}: no sign of learning in the spectra."
    carry = "carries" if len(carrying) == 1 else "carry"
    total = count(sum(row["learnt"] for row in carrying), "value")
    sentences = [f"{len(carrying)} of {_matrices(tested)} {carry} {noise}: {total} in all."]
    # A share of two or three values says nothing about a role.
    if strongest := _strongest([row for row in tested if row["M"] >= SMALLEST_SIDE]):
        small = any(row["M"] < SMALLEST_SIDE for row in carrying)
        among = f", of matrices with {SMALLEST_SIDE} singular values or more" if small else ""
        sentences.append(f"Strongest{among}: {listing(strongest)}.")
    return " ".join([*sentences, _by_chance(records, len(tested))])


def _moved(records: Records) -> str:
    rows = records.without_lists("difference")
    if not rows:
        return ""
    other = records.settings("difference")["other_name"]
    same = sum(row["identical"] for row in rows)
    moved = moved_matrices(rows, records.settings("difference")["draws"])
    return f"{_matrices(rows)} compared with {other}: {same} identical, {moved.sentence()}."


def _matrices(rows: list[Row]) -> str:
    return count(len(rows), "matrix", "matrices")


def _strongest(rows: list[Row]) -> list[str]:
    """Up to three roles by the mean share of learnt values."""
    share: dict[str, float] = {}
    for role in {row["role"] for row in rows if row["learnt"]}:
        same = [row for row in rows if row["role"] == role]
        share[role] = sum(row["learnt"] / row["M"] for row in same) / len(same)
    first = sorted(share, key=lambda role: (-share[role], role))[:3]
    of_what = " of a matrix's values on average"
    return [
        f"{plain(role)} ({percent(share[role])}{'' if place else of_what})"
        for place, role in enumerate(first)
    ]


def _by_chance(records: Records, matrices: int) -> str:
    draws = records.settings("spectra").get("draws")
    if not draws:
        return ""
    expected = matrices / (draws + 1)
    about = "fewer than one" if expected < 1 else f"about {expected:.0f}"
    return f"With {draws} draws, pure noise would put {about} of them there by chance."


def _doubt(records: Records) -> str:
    tested = [row for row in records.spectra if row["iid_q_value"] is not None]
    rate = float(records.settings("spectra").get("false_positive_rate", 0.01))
    refuted = sum(row["iid_q_value"] <= rate for row in tested)
    if not tested:
        return ""
    if not refuted:
        return (
            f"In none of {_matrices(tested)} are independent, identically distributed entries refuted: the "
            "Marchenko–Pastur edges can be taken at their word."
        )
    return (
        f"In {refuted} of {_matrices(tested)} the entries are shown not to be independent and identically "
        "distributed: there, values outside the Marchenko–Pastur edges alone are no proof of learning; trust "
        "the sign flips."
    )
