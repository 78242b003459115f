"""What a notebook shows of results: short, whole, and harmless whatever a file's names hold."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
import pandas
import pytest

import lmscope
from lmscope.kernels.entry_statistics import entry_statistics
from lmscope.kernels.randomized_nulls import sign_flip_top_values

EVIL = '<img src=x onerror="alert(1)">\u202e.weight'


class Page(html.parser.HTMLParser):
    """Tags and text of a repr; an element left open or closed twice is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


@pytest.fixture
def run(make_llama, tmp_path, monkeypatch):
    """Of a checkpoint with a tensor of a hostile name, and one that fails."""

    def change(tensors):
        for tensor in tensors.values():
            tensor += np.asarray(0.2 if tensor.ndim == 2 else 0, tensor.dtype)
        # Of all that has learnt something, the one of the largest share.
        tensors[EVIL] = tensors["model.layers.0.mlp.up_proj.weight"] + np.ones((96, 64), np.float32)
        tensors["model.layers.0.mlp.up_proj.weight"][1, 2] = np.nan

    checkpoint = make_llama(layers=1, change=change)
    monkeypatch.chdir(tmp_path)
    return lmscope.analyze(checkpoint, out=tmp_path / "a run", draws=5, progress=False)


def test_run_shows_verdict_troubles_and_link(run):
    page = Page(run._repr_html_())
    assert {"table", "a"} <= page.tags
    assert "img" not in page.tags
    assert "model.layers.0.mlp.up_proj.weight: failed" in page.text
    assert "9 analysed" in page.text
    assert all(f" {role} " in page.text for role in ("query", "down", "token_embedding", "other"))
    assert page.links == ["a%20run/report.html"]
    assert (Path.cwd() / "a run" / "report.html").is_file()
    assert len(repr(run)) < 300


def test_run_without_a_page_says_how_to_get_one(run):
    (run.path / "report.html").unlink()
    page = Page(run._repr_html_())
    assert page.links == []
    assert "run.report()" in page.text


def test_link_to_a_page_elsewhere_is_absolute(run, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert Page(run._repr_html_()).links == [(run.path / "report.html").as_uri()]


def test_run_that_stopped_before_it_began_still_shows(run):
    (run.path / "ledger.parquet").unlink()
    assert "no such file; the run stopped before it began" in repr(run)
    assert "no such file; the run stopped before it began" in Page(run._repr_html_()).text


def test_names_are_escaped(run, tmp_path):
    checkpoint = lmscope.open_checkpoint(tmp_path / "tiny-llama")
    hostile = next(info for info in checkpoint if info.name == EVIL)
    harmless = EVIL.replace("\u202e", "\\u202e")
    for shown in (hostile, run, run.summary()):
        page = Page(shown._repr_html_())
        assert "img" not in page.tags
        assert harmless in page.text


def test_checkpoint_and_inspection_count_tensors_by_role(tiny_llama_path):
    checkpoint = lmscope.open_checkpoint(tiny_llama_path)
    for shown in (checkpoint, lmscope.inspect(checkpoint)):
        words = " ".join(Page(shown._repr_html_()).text.split())
        query = [info for info in checkpoint if info.role == "query"]
        assert f"query {len(query)} {len(query)} 0 0 {sum(info.elements for info in query):,} " in words
    assert "An analysis needs about" in Page(lmscope.inspect(checkpoint)._repr_html_()).text


def test_tensor_info_tells_place_shape_and_status(tiny_llama_path):
    info = next(info for info in lmscope.open_checkpoint(tiny_llama_path) if info.role == "key")
    assert repr(info) == f"TensorInfo({info.name!r}, key, layer 0, 16 x 32 float32, planned)"
    assert "16 × 32" in Page(info._repr_html_()).text


def test_results_of_a_matrix_are_short_and_say_what_they_hold():
    weight = np.random.default_rng(0).standard_normal((400, 4096)).astype(np.float32)
    weight[:, :40] += 1.0
    values = lmscope.singular_values(weight)
    stream = lmscope.StreamingSingularValues(400)
    stream.update(weight.T)
    verdict = lmscope.spectrum_verdict(weight, draws=3)
    fit = lmscope.fit_marchenko_pastur(values.values, weight.shape)
    directions = np.linalg.qr(np.random.default_rng(1).standard_normal((40, 40)))[0]
    test, overlap = lmscope.porter_thomas(directions), lmscope.activation_overlap(directions, np.eye(40))
    shown = [
        (values, (f"{values.values[0]:.4g}", "gram")),
        (test, ("40 vectors of length 40", "9999", f"{test.p_value.min():.4g}", "2.0 expected")),
        (overlap, ("40 directions", f"{overlap.null_high:.4g}", "top 4", "0.003")),
        (stream, ("4096", "400", "gram")),
        (
            verdict,
            (str(verdict.learnt), f"{verdict.sign_flip_edge:.4g}", f"{verdict.upper_edge:.4g}", "gram"),
        ),
        (fit, (str(fit.n_above), f"{fit.upper_edge:.4g}", "400 × 4096")),
        (entry_statistics(weight), ("400 × 4096", "kurtosis")),
        (sign_flip_top_values(weight, draws=3), ("3 draws",)),
    ]
    assert verdict.learnt >= 1
    for result, expected in shown:
        page = Page(result._repr_html_())
        assert all(word in page.text for word in expected), page.text
        assert len(repr(result)) < 600
        assert type(result).__name__ in repr(result)


def test_no_verdict_shows_its_reason():
    fit = lmscope.fit_marchenko_pastur([1.0, 2.0], (2, 3))
    assert "too few" in repr(fit)
    assert "too few" in Page(fit._repr_html_()).text
    unasked = lmscope.spectrum_verdict(np.eye(40), nulls=("iid",))
    assert "–" in Page(unasked._repr_html_()).text


def test_data_frames_have_the_same_dtypes_whatever_they_hold(run):
    spectra, ledger = run.to_pandas("spectra"), run.to_pandas("ledger")
    for frame in (spectra, ledger):
        assert frame["layer"].dtype == frame["expert"].dtype == pandas.Int32Dtype()
    assert spectra["learnt"].dtype == pandas.Int64Dtype()
    assert spectra["rows"].dtype == np.int64
    assert spectra["effective_rank"].dtype == np.float64
    assert spectra["singular_values"].iloc[0].dtype == np.float64
    assert (spectra["singular_values"].map(len) == spectra["M"]).all()
    assert set(ledger["status"]) == {"analysed", "skipped", "failed"}
    embedding = spectra[spectra["role"] == "token_embedding"]
    assert embedding["layer"].isna().all()
    assert ledger.dtypes.equals(lmscope.inspect(run.manifest["checkpoint"]["path"]).to_pandas().dtypes)
