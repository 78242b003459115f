"""The command line as a user meets it: in a process of its own, streams apart, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import lmscope


def lmscope_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lmscope", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


def spoil(name: str, value: float):
    def change(tensors):
        tensors[name][1, 2] = value

    return change


@pytest.fixture
def source(make_llama):
    return make_llama(layers=1)


def test_inspect_prints_one_json_object(source):
    result = lmscope_command("inspect", source, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert {"tensors", "projection"} <= answer.keys()
    row = next(row for row in answer["tensors"] if row["name"] == "model.layers.0.self_attn.k_proj.weight")
    expected = {"role": "key", "layer": 0, "expert": None, "shape": [32, 64], "dtype": "bfloat16"}
    assert {name: row[name] for name in expected} == expected
    assert (row["status"], row["reason"]) == ("planned", "")
    assert answer["projection"]["matrices"] == 9
    assert answer["projection"]["memory_bytes"] > 128_000_000


def test_inspect_table_is_plain_when_piped(source):
    result = lmscope_command("inspect", source)
    assert result.returncode == 0
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    row = next(line for line in lines if "k_proj" in line)
    assert row.split() == [
        "model.layers.0.self_attn.k_proj.weight",
        "key",
        "0",
        "32x64",
        "bfloat16",
        "planned",
    ]
    assert "9 matrices to analyse" in result.stdout


def test_light_commands_import_nothing_heavy(source):
    code = """
import sys
from lmscope.cli import app
try:
    app(sys.argv[1:])
except SystemExit as leaving:
    assert not leaving.code, leaving.code
heavy = {"torch", "transformers", "scipy", "pandas", "pyarrow", "plotly", "jinja2"} & sys.modules.keys()
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""
    for arguments in (
        ["inspect", str(source)],
        ["inspect", str(source), "--json"],
        ["--help"],
        ["analyze", "--help"],
    ):
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr


def test_analyze_imports_no_torch(source, tmp_path):
    code = """
import sys
import lmscope
lmscope.analyze(sys.argv[1], out=sys.argv[2], draws=1, roles="query")
sys.exit(bool({"torch", "transformers"} & sys.modules.keys()))
"""
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "run")]
    assert subprocess.run(command, timeout=120).returncode == 0


def test_analyze_ends_with_the_verdict_and_the_page(source, tmp_path):
    result = lmscope_command("analyze", source, "-o", tmp_path / "run", "--draws", 2)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    for piece in (
        "token_embedding",
        "attention_output",
        "learnt",
        "9 analysed",
        "noise alone would give about 3",
    ):
        assert piece in result.stdout
    page = result.stdout.splitlines()[-1].removeprefix("Report: ")
    assert Path(page) == tmp_path / "run" / "report.html"
    assert Path(page).is_file()


def test_json_and_nothing_else_on_stdout(source, tmp_path):
    result = lmscope_command("analyze", source, "-o", tmp_path / "run", "--draws", 2, "--json")
    assert result.returncode == 0
    answer = json.loads(result.stdout)
    assert answer["run"] == str(tmp_path / "run")
    assert Path(answer["report"]).is_file()
    assert answer["statuses"] == {"analysed": 9, "skipped": 3}
    assert [role["role"] for role in answer["roles"]][:2] == ["query", "key"]
    assert answer["settings"]["spectra"]["draws"] == 2
    chance = answer["chance"]
    assert (chance["tested"], chance["expected"], chance["level"]) == (9, 3.0, 0.01)
    assert chance["showing"] == sum(
        row["learnt"] > 0
        for row in lmscope.open_run(tmp_path / "run").to_pandas("spectra").to_dict("records")
    )


def test_untrained_matrices_are_not_ranked(source, make_llama, tmp_path):
    options = ["--draws", 19, "--nulls", "sign_flip"]
    result = lmscope_command("spectra", source, "-o", tmp_path / "random", *options)
    assert "nothing here can be told from noise" in result.stdout or "that may be chance" in result.stdout
    assert "Largest share of the norm" not in result.stdout

    def train(tensors):
        for tensor in tensors.values():
            tensor += np.asarray(0.2 if tensor.ndim == 2 else 0, tensor.dtype)

    result = lmscope_command(
        "spectra", make_llama(layers=1, change=train, name="trained"), "-o", tmp_path / "run", *options
    )
    assert "9 of 9 matrices show learnt values" in result.stdout
    assert "more than chance gives (p below 0.000001)" in result.stdout
    assert "Largest share of the norm" in result.stdout


def test_replayed_and_continued_runs_say_so(source, tmp_path):
    def said(*options):
        result = lmscope_command(
            "spectra", source, "-o", tmp_path / "run", "--draws", 1, "--nulls", "sign_flip", *options
        )
        assert result.returncode == 0
        return result.stderr

    assert "stand" not in said("--roles", "query,key")
    settings = "nulls sign_flip, draws 1, seed 0, false positive rate 0.01"
    assert said("--roles", "query,key") == f"lmscope: nothing to compute: all 2 records stand ({settings})\n"
    assert said().startswith(f"lmscope: continuing: 2 of 9 records stand ({settings})\n")
    assert "stand" not in said("--seed", 1)
    assert said("-q") == ""


def test_quiet_prints_the_path_alone(source, tmp_path):
    result = lmscope_command("spectra", source, "-o", tmp_path / "run", "--draws", 1, "-q", "--roles", "key")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{tmp_path / 'run'}\n", "")


def test_same_records_as_from_python(source, tmp_path):
    options = ["--draws", 3, "--seed", 5, "--nulls", "iid,sign_flip", "--false-positive-rate", 0.05]
    options += ["--include", "*layers*", "--include", "lm_head*", "--exclude", "*gate*", "--exclude", "*up*"]
    result = lmscope_command("analyze", source, "-o", tmp_path / "command", *options, "--json")
    assert result.returncode == 0, result.stderr
    lmscope.analyze(
        source,
        out=tmp_path / "python",
        draws=3,
        seed=5,
        nulls=("sign_flip", "iid"),
        false_positive_rate=0.05,
        include=["*layers*", "lm_head*"],
        exclude=["*gate*", "*up*"],
        progress=False,
    )
    ours = sorted((tmp_path / "command" / "spectra").iterdir())
    theirs = sorted((tmp_path / "python" / "spectra").iterdir())
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert len(ours) == 6
    for left, right in zip(ours, theirs, strict=True):
        rows = [
            pyarrow.parquet.read_table(path).drop_columns(["seconds"]).to_pylist() for path in (left, right)
        ]
        assert repr(rows[0]) == repr(rows[1])


def test_selection_options(source, tmp_path):
    arguments = ["--layers", "0", "--roles", "query,key", "--draws", 1, "--json"]
    result = lmscope_command("spectra", source, "-o", tmp_path / "run", *arguments)
    assert [(role["role"], role["matrices"]) for role in json.loads(result.stdout)["roles"]] == [
        ("query", 1),
        ("key", 1),
    ]


def test_report_builds_the_page_again(source, tmp_path):
    lmscope_command("spectra", source, "-o", tmp_path / "run", "--draws", 1, "--roles", "key")
    page = tmp_path / "run" / "report.html"
    assert not page.exists()
    result = lmscope_command("report", tmp_path / "run")
    assert (result.returncode, result.stdout) == (0, f"{page}\n")
    assert page.is_file()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--layers", "a-b"], "layers: 'a-b'"),
        (["--layers", "12"], "no matrix matches layers 12; the checkpoint's layers are 0; "),
        (["--roles", "queries"], "roles: 'queries' is no role; choose from query"),
        (["--device", "cuda:7"], "device: 'cuda:7'"),
        (["--draws", "0"], "draws: 0"),
        (["--draws", "many"], "--draws"),
        (["--nulls", "tukey"], "nulls: 'tukey'"),
        (["--colour"], "--colour"),
    ],
)
def test_wrong_usage_is_2(source, tmp_path, arguments, text):
    result = lmscope_command("analyze", source, "-o", tmp_path / "run", *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_verb_is_2():
    result = lmscope_command("analyse-this", "x")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_folder_of_another_checkpoint_is_2(make_llama, tmp_path):
    run = tmp_path / "run"
    assert (
        lmscope_command("spectra", make_llama(layers=1), "-o", run, "--draws", 1, "--roles", "key").returncode
        == 0
    )
    other = make_llama(layers=1, seed=1, name="other")
    result = lmscope_command("spectra", other, "-o", run, "--draws", 1)
    assert result.returncode == 2
    assert "another checkpoint" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_run_folder_is_2(tmp_path):
    result = lmscope_command("report", tmp_path, "--json")
    assert result.returncode == 2
    answer = json.loads(result.stdout)
    assert answer["exit_code"] == 2
    assert "no result folder" in answer["error"]["message"]


@pytest.mark.parametrize("verb", ["inspect", "analyze"])
def test_unreadable_checkpoint_is_3(tmp_path, verb):
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for path in (broken, tmp_path / "nowhere"):
        result = lmscope_command(verb, path)
        assert result.returncode == 3
        assert result.stdout == ""
        assert path.name in result.stderr
        assert "Traceback" not in result.stderr


def test_config_in_place_of_its_folder(source):
    result = lmscope_command("inspect", source / "config.json")
    assert result.returncode == 3
    assert f"config.json is no weight file: give its folder, {source}" in result.stderr


def test_bad_tensor_is_4_and_the_rest_is_done(make_llama, tmp_path):
    name = "model.layers.0.mlp.down_proj.weight"
    source = make_llama(layers=1, change=spoil(name, np.inf))
    result = lmscope_command("analyze", source, "-o", tmp_path / "run", "--draws", 1)
    assert result.returncode == 4
    assert f"{name}: failed: " in result.stderr
    assert "row 1" in result.stderr
    assert "column 2" in result.stderr
    assert "1 failed" in result.stdout
    ledger = {row["name"]: row for row in lmscope.open_run(tmp_path / "run").ledger.to_pylist()}
    assert "row 1" in ledger[name]["reason"]
    assert sum(row["status"] == "analysed" for row in ledger.values()) == 8
    # Left out, it does not trouble the run.
    result = lmscope_command("analyze", source, "-o", tmp_path / "run", "--draws", 1, "--exclude", name)
    assert result.returncode == 0


def as_float8(tensors):
    import ml_dtypes

    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            tensors[name] = tensor.astype(ml_dtypes.float8_e4m3fn)


def test_every_matrix_refused_is_3(make_llama, tmp_path):
    source = make_llama(layers=1, change=as_float8)
    for arguments in (["inspect", source], ["analyze", source, "-o", tmp_path / "run"]):
        result = lmscope_command(*arguments)
        assert result.returncode == 3
        assert "refused" in result.stderr
        assert "float8" in result.stderr


def test_interrupt_keeps_what_is_done(make_llama, tmp_path):
    source, run = make_llama(layers=6), tmp_path / "run"
    # So many draws that the run outlasts the third record by seconds.
    command = [sys.executable, "-m", "lmscope", "analyze", str(source), "-o", str(run), "--draws", "1999"]
    # A shell that puts the suite in the background makes it ignore this signal, and its children with it.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 120
        while len(list(run.glob("spectra/*.parquet"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stdout == ""
    assert "interrupted; what is done is kept" in stderr
    assert "Traceback" not in stderr
    statuses = lmscope.open_run(run).ledger.column("status").to_pylist()
    assert statuses.count("analysed") == len(list(run.glob("spectra/*.parquet"))) >= 3
    assert "planned" in statuses


def test_unknown_model_type_is_a_warning_on_stderr(source, tmp_path):
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_type": "never-heard-of"}))
    for arguments in (
        ["inspect", source, "--json"],
        ["spectra", source, "-o", tmp_path / "run", "--draws", 1, "--json"],
    ):
        result = lmscope_command(*arguments)
        assert result.returncode == 0
        assert "lmscope: warning: " in result.stderr
        assert "never-heard-of" in result.stderr
        json.loads(result.stdout)


def test_debug_shows_the_traceback(tmp_path):
    result = lmscope_command("inspect", tmp_path / "nowhere", LMSCOPE_DEBUG="1")
    assert "Traceback" in result.stderr
    assert "CheckpointError" in result.stderr


@pytest.mark.parametrize(
    "verb", ["inspect", "analyze", "spectra", "tokens", "localize", "unembedding", "icl", "report"]
)
def test_help_has_an_example(verb):
    result = lmscope_command(verb, "--help")
    assert result.returncode == 0
    assert f"lmscope {verb} " in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    "verb",
    [
        *([], ["inspect"], ["analyze"], ["spectra"], ["tokens"], ["localize"], ["unembedding"], ["report"]),
        ["icl"],
        ["bench"],
    ],
)
def test_help_breaks_lines_at_the_edge_alone_and_flags_have_no_type(verb):
    text = lmscope_command(*verb, "--help", COLUMNS="300").stdout
    assert "bool" not in text
    prose = [line.strip() for line in text.split("\u256d")[0].splitlines() if line.strip()]
    begins = ("Usage:", "Example", "lmscope ")
    assert all(line.endswith((".", ":")) or line.startswith(begins) for line in prose), prose


def test_inspect_help_says_what_a_star_means():
    text = " ".join(lmscope_command("inspect", "--help").stdout.split())
    assert "folded into one row, with a * for their numbers, unless --all is given" in text


def test_version():
    assert lmscope_command("--version").stdout == f"{lmscope.__version__}\n"


def test_the_library_does_not_print(source, tmp_path, capfd):
    lmscope.analyze(source, out=tmp_path / "run", draws=1, progress=False)
    assert capfd.readouterr() == ("", "")
