"""A plain Hugging Face folder: loaded without this library, the same bits; refused where no configuration says it."""

import json
import subprocess
import sys

import pytest
import torch
import transformers
from torch import nn

import torchsurgery as ts

WORDS = torch.randint(0, 32, (2, 8), generator=torch.Generator().manual_seed(0))


def llama(**more):
    sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=4, num_attention_heads=4)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**sizes, **more})).eval()


def bert():
    sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=4, num_attention_heads=4)
    return transformers.BertForSequenceClassification(transformers.BertConfig(**sizes)).eval()


def gpt2():
    sizes = dict(vocab_size=32, n_embd=16, n_layer=4, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()


def pruned(pattern):
    return lambda model: ts.prune(model, pattern, 0.5, example_inputs=WORDS)


CASES = {
    "a layer": (llama, lambda m: ts.remove(m, "model.layers.1"), {"num_hidden_layers": 3}),
    "two layers, tied": (
        lambda: llama(tie_word_embeddings=True),
        lambda m: ts.remove(m, "model.layers.[02]"),
        {"num_hidden_layers": 2, "tie_word_embeddings": True},
    ),
    "widths": (llama, pruned("model.layers.*.mlp.up_proj"), {"intermediate_size": 12}),
    "heads": (
        llama,
        pruned("model.layers.*.self_attn.q_proj"),
        {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4},
    ),
    "shared heads": (
        lambda: llama(num_key_value_heads=2),
        pruned("model.layers.*.self_attn.k_proj"),
        {"num_attention_heads": 2, "num_key_value_heads": 1},
    ),
    "vocabulary": (
        lambda: llama(tie_word_embeddings=True),
        lambda m: ts.widen(m, "model.embed_tokens", tokens=40, example_inputs=WORDS),
        {"vocab_size": 40},
    ),
    "bfloat16": (llama, lambda m: (ts.remove(m, "model.layers.3"), m.bfloat16()), {"num_hidden_layers": 3}),
    "classes": (bert, lambda m: ts.set_outputs(m, 5, example_inputs=WORDS), {"num_labels": 5}),
    "bert's widths": (bert, pruned("bert.encoder.layer.*.intermediate.dense"), {"intermediate_size": 12}),
    "bert's layers": (bert, lambda m: ts.remove(m, "bert.encoder.layer.[12]"), {"num_hidden_layers": 2}),
    "gpt2's layers": (gpt2, lambda m: ts.remove(m, "transformer.h.2"), {"n_layer": 3}),
    "gpt2's widths": (gpt2, pruned("transformer.h.*.mlp.c_fc"), {"n_inner": 32}),
    "two surgeries": (
        llama,
        lambda m: (pruned("model.layers.*.mlp.up_proj")(m), ts.remove(m, "model.layers.2")),
        {"num_hidden_layers": 3, "intermediate_size": 12},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_configuration_can_say(name, tmp_path):
    build, alter, said = CASES[name]
    model = build()
    alter(model)
    ts.export_hf(model, tmp_path / "plain")
    loaded = type(model).from_pretrained(tmp_path / "plain").eval()
    assert {key: getattr(loaded.config, key) for key in said} == said
    with torch.no_grad():
        assert torch.equal(loaded(WORDS).logits, model(WORDS).logits)
    assert {p.dtype for p in loaded.parameters()} == {p.dtype for p in model.parameters()}


REFUSED = {
    "one layer's width": (llama, pruned("model.layers.0.mlp.up_proj"), r"model\.layers\.0\.mlp\.gate_proj"),
    "another class": (llama, lambda m: ts.replace(m, "model.norm", nn.LayerNorm(16)), r"model\.norm"),
    "an insertion": (llama, lambda m: ts.insert(m, nn.Dropout(0.1), after="model.layers.0.mlp"), "mlp"),
    "heads of an old kind": (bert, pruned("bert.encoder.layer.*.attention.self.query"), "query"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_can_not_say_is_refused_by_name(name, tmp_path):
    build, alter, match = REFUSED[name]
    model = build()
    alter(model)
    with pytest.raises(ts.RecipeError, match=match) as caught:
        ts.export_hf(model, tmp_path / "plain")
    assert "ts.save(model" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_model_stays_what_it_is(tmp_path):
    from sameness import portrait

    model = llama()
    ts.remove(model, "model.layers.1")
    before = portrait(model)
    ts.export_hf(model, tmp_path / "plain")
    assert portrait(model) == before
    assert model.config.num_hidden_layers == 4  # its own goes on to say what it was built from


def test_loaded_in_a_process_that_does_not_know_this_library(tmp_path):
    model = llama()
    ts.remove(model, "model.layers.1")
    ts.export_hf(model, tmp_path / "plain")
    code = (
        "import sys, transformers; sys.modules['torchsurgery'] = None\n"
        f"model = transformers.AutoModelForCausalLM.from_pretrained({str(tmp_path / 'plain')!r})\n"
        "print(len(model.model.layers))"
    )
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "3"
    assert "torchsurgery" not in json.dumps(json.loads((tmp_path / "plain" / "config.json").read_text()))


def test_folders_and_models_that_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ts.RecipeError, match="holds something, which is not overwritten"):
        ts.export_hf(llama(), tmp_path / "mine")
    with pytest.raises(ts.RecipeError, match="no model of transformers"):
        ts.export_hf(nn.Sequential(nn.ReLU()), tmp_path / "new")
    with pytest.raises(ts.RecipeError, match="meta device"):
        ts.export_hf(llama().to("meta"), tmp_path / "new")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "new").exists()
