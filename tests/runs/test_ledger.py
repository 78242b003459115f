"""What the ledger says of a tensor, from all that the run's analyses found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lmscope.architectures import TensorInfo
from lmscope.results import ResultsError, RunFolder
from lmscope.runs.ledger import Findings, ledger_rows, stored_findings
from lmscope.runs.selection import Selection


def tensor(name: str, **more: object) -> TensorInfo:
    given = {"role": "query", "layer": 0, "expert": None, "shape": (4, 4), "dtype": "float32", "nbytes": 64}
    stored = {"tied_to": None, "stored_name": name, "stored_shape": (4, 4)}
    return TensorInfo(name=name, **{**given, **stored, "status": "planned", "reason": "", **more})


def status(findings: Mapping[str, Findings], selection: Selection | None = None, **more: object) -> tuple:
    """Status and reason of the tensor "w"."""
    (row,) = ledger_rows([tensor("w", **more)], selection or Selection(), findings)
    return row["status"], row["reason"]


RECORDED = Findings(recorded={"w"})
FAILED = Findings(failed={"w": "it holds NaN"})
PENDING = Findings(pending={"w"})
ALONE = Findings(without={"w": ("skipped", "no partner")})
REFUSED = Findings(without={"w": ("refused", "another length")})
KEYS_ONLY = Selection(roles=frozenset({"key"}))


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], ("planned", "")),
        ([RECORDED], ("analysed", "")),
        ([FAILED], ("failed", "it holds NaN")),
        ([PENDING], ("planned", "")),
        ([ALONE], ("skipped", "no partner")),
        ([REFUSED], ("refused", "another length")),
        # one analysis beside another
        ([RECORDED, FAILED], ("failed", "it holds NaN")),
        ([FAILED, PENDING], ("failed", "it holds NaN")),
        ([FAILED, REFUSED], ("failed", "it holds NaN")),
        ([RECORDED, PENDING], ("analysed", "")),
        ([RECORDED, ALONE], ("analysed", "")),
        ([RECORDED, REFUSED], ("analysed", "")),
        ([PENDING, ALONE], ("planned", "")),
        ([Findings(), ALONE], ("skipped", "no partner")),
        # in records of some of its pairs, while others are left
        ([Findings(recorded={"w"}, pending={"w"})], ("planned", "")),
    ],
)
def test_what_matters_most_is_told(findings: list[Findings], expected: tuple[str, str]) -> None:
    for order in (findings, findings[::-1]):
        assert status(dict(zip(("spectra", "similarity"), order, strict=False))) == expected


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        (Findings(), "skipped"),
        (ALONE, "skipped"),
        (REFUSED, "skipped"),
        (RECORDED, "analysed"),
        (FAILED, "failed"),
    ],
)
def test_outside_the_selection_what_was_found_earlier_stays(findings: Findings, expected: str) -> None:
    found, reason = status({"spectra": findings}, KEYS_ONLY)
    assert found == expected
    assert ("not selected (roles key)" in reason) == (expected == "skipped")


def test_the_reason_is_that_of_the_spectra_whatever_ran_last() -> None:
    theirs = Findings(failed={"w": "theirs"})
    for findings in ({"similarity": FAILED, "spectra": theirs}, {"spectra": theirs, "similarity": FAILED}):
        assert status(findings) == ("failed", "theirs")


def test_a_failure_is_left_out_by_name_alone() -> None:
    reason = "not selected (exclude v, w); it failed: it holds NaN"
    assert status({"spectra": FAILED}, Selection(exclude=("v", "w"))) == ("skipped", reason)
    assert status({"spectra": FAILED}, Selection(exclude=("v",)))[0] == "failed"
    assert status({"spectra": FAILED}, Selection(include=("v",)))[0] == "failed"


@pytest.mark.parametrize("own", [("skipped", "a vector"), ("refused", "quantised")])
def test_what_the_checkpoint_says_stands(own: tuple[str, str]) -> None:
    assert status({"spectra": RECORDED}, status=own[0], reason=own[1]) == own


def test_a_guessed_role_keeps_its_reason() -> None:
    assert status({"spectra": RECORDED}, reason="role guessed") == ("analysed", "role guessed")


# ---- failures in the run folder


def settings(folder: RunFolder, **by_analysis: Mapping[str, object]) -> None:
    folder.write_manifest(
        checkpoint={"name": "tiny", "path": "tiny", "identity": "id", "model_type": "bert"},
        settings=by_analysis,
        lmscope_version="1",
        device="cpu",
        isa="scalar",
        machine={},
    )


def test_failures_are_those_of_the_settings(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "id")
    with folder.lock():
        settings(folder, spectra={"seed": 0}, similarity={"seed": 0})
        assert folder.failures("spectra") == {}
        folder.write_failures("spectra", {"w": "NaN"})
        settings(folder, spectra={"seed": 1})
        assert folder.failures("spectra") == {}
        assert stored_findings(folder, ["similarity"])["spectra"] == Findings()
        settings(folder, spectra={"seed": 0})
        assert stored_findings(folder, ["similarity"])["spectra"].failed == {"w": "NaN"}
        assert stored_findings(folder, ["spectra"])["similarity"] == Findings()
        folder.write_failures("spectra", {})
        assert folder.failures("spectra") == {}


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}'])
def test_an_unreadable_file_of_failures_is_no_clean_bill(tmp_path: Path, content: str) -> None:
    folder = RunFolder.create(tmp_path, "id")
    with folder.lock():
        settings(folder, spectra={"seed": 0})
        folder.write_failures("spectra", {"w": "NaN"})
    (tmp_path / "spectra" / "failures.json").write_text(content)
    with pytest.raises(ResultsError, match=r"spectra/failures\.json: unreadable: .*delete it and repeat"):
        folder.failures("spectra")
