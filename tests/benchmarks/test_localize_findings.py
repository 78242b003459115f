"""What the evidence of `localize` keeps, from records with planted ends, against counts of their rows."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import lmscope

from ..synthetic_location import ROLES, write_location_run

Tables = dict[str, list[dict[str, Any]]]
FINDINGS = "localize_findings"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = write_location_run(tmp_path_factory.mktemp("steps"), steps=(0, 64, 512), each=("query",))
    run = lmscope.open_run(folder)
    return {
        name: run.table(name).to_pylist() for name in ("vectors", "overlap", "lesions", "slices", "claims")
    }


def test_shares_of_vectors_and_overlaps(findings: ModuleType, tables: Tables) -> None:
    last = {name: [row for row in rows if row["step"] == 512] for name, rows in tables.items()}
    found = findings.vectors(last["vectors"])
    assert set(found) == set(ROLES)
    own = [row for row in last["vectors"] if row["role"] == "query"]
    values = np.array([row["singular_values"] for row in own])
    above = values > np.array([[row["upper_edge"]] for row in own])
    small = np.array([row["p_left"] for row in own]) < 0.01
    part = found["query"]["left"]["above"]
    assert part["vectors"] == above.sum()
    assert part["share"] == pytest.approx(small[above].mean())
    assert part["share"] > 0.5 > found["value"]["left"]["inside"]["share"]
    counts = [found["query"]["left"][name]["vectors"] for name in ("below", "inside", "above", "untrained")]
    assert sum(counts[:3]) == values.size == counts[3]

    overlaps = findings.overlaps(last["overlap"], last["vectors"])
    above_band = np.array([row["overlap"] for row in last["overlap"] if row["role"] == "query"])
    limit = next(row["null_high"] for row in last["overlap"] if row["role"] == "query")
    assert overlaps["query"]["above"]["share"] == pytest.approx((above_band > limit)[above].mean())
    assert overlaps["query"]["untrained"]["share"] < 0.05
    # The median of what random directions have in 6 of 64 dimensions lies below the mean, 6 / 64.
    assert 0.08 < overlaps["query"]["top_share_of_random"] < 6 / 64


def test_matrices_without_verdict_are_all_inside(findings: ModuleType, tables: Tables) -> None:
    rows = [
        {**row, "lower_edge": None, "upper_edge": None, "untrained_p_right": None, "untrained_p_left": None}
        for row in tables["vectors"]
    ]
    found = findings.vectors(rows)["query"]["right"]
    assert found["above"] == found["below"] == found["untrained"] == {"vectors": 0, "share": None}
    assert found["inside"]["vectors"] == 3 * 2 * 64


def test_lesions_stand_beside_their_controls(findings: ModuleType, tables: Tables) -> None:
    rows = [row for row in tables["lesions"] if row["step"] == 512]
    found = findings.lesions(rows)
    assert set(found) == {"loss", "retrieval_rank"}
    curve = found["loss"]["roles"]["up"]
    assert [one["slice"] for one in curve] == list(range(1, 11))
    wanted = {
        kind: [
            row["impact"]
            for row in rows
            if (row["role"], row["slice"], row["kind"], row["measure"], row["target_kind"])
            == ("up", 3, kind, "loss", "role")
        ]
        for kind in ("lesion", "random_size", "random_energy")
    }
    assert curve[2]["impact"][0] == wanted["lesion"][0]
    for kind in ("random_size", "random_energy"):
        assert len(wanted[kind]) == 2
        assert curve[2][kind][0] == pytest.approx(np.mean(wanted[kind]))
    counts = findings.controls_beaten(rows)["loss"]["random_size"]
    assert sum(counts.values()) == len(ROLES) * 10
    assert min(counts["above"], counts["below"]) > 0
    bare = [{**row, "impact_low": None, "impact_high": None} for row in rows]
    assert findings.controls_beaten(bare)["loss"]["random_size"]["without_interval"] == len(ROLES) * 10


def test_steps_and_agreement(findings: ModuleType, tables: Tables) -> None:
    steps = findings.dynamics(tables)
    assert [one["step"] for one in steps] == [0, 64, 512]
    largest = [one["scores"]["query"]["vector_deviation"][2] for one in steps]
    assert largest[2] > largest[0]
    impacts = steps[2]["impacts"]["loss"]["query"]
    assert [one["slice"] for one in impacts] == [1, 5, 10]
    slices = {str(step): [row for row in tables["slices"] if row["step"] == step] for step in (64, 512)}
    agreed = findings.agreement(slices)
    assert [(one["models"], one["slices"]) for one in agreed[:3]] == [
        (["64", "512"], which) for which in ("all", "smallest", "largest")
    ]
    assert agreed[0]["roles"] == sorted(ROLES)
    assert agreed[0]["value"] > 0
    # Everything that is kept can be written.
    json.dumps([steps, agreed, findings.claims(tables["claims"]), findings.covariances(tables["overlap"])])
    warned = [{**row, "warning": "few levels"} for row in tables["vectors"]]
    assert findings.warnings(warned) == [{"warning": "few levels", "matrices": 36, "roles": sorted(ROLES)}]
    assert findings.warnings(tables["vectors"]) == []
