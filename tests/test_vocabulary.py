"""New tokens: a table and all that is tied to its rows get longer at the end, and so does the output."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait

transformers = pytest.importorskip("transformers")


class Language(nn.Module):
    """A table whose rows are the head's, too, with a bias of its own, and the number in the code."""

    def __init__(self, tied=True):
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11)
        if tied:
            self.head.weight = self.embed.weight
        self.vocab_size = 11

    def forward(self, ids):
        return self.head(self.hidden(self.embed(ids)).relu()).view(-1, self.vocab_size)


@pytest.fixture
def ids():
    return torch.arange(10).view(2, 5)


def test_by_hand(ids):
    net = Language().double()
    table, bias, answer = net.embed.weight.clone(), net.head.bias.clone(), net(ids)
    ts.widen(net, "embed", tokens=13, example_inputs=ids)
    assert net.head.weight is net.embed.weight
    assert torch.equal(net.embed.weight[:11], table)
    assert torch.allclose(net.embed.weight[11:], table.float().mean(0).double().expand(2, 6))
    assert torch.equal(net.head.bias[:11], bias)
    assert (net.embed.num_embeddings, net.head.out_features, net.vocab_size) == (13, 13, 13)
    assert torch.equal(net(ids)[:, :11], answer)
    assert net(torch.tensor([[11, 12]])).shape == (2, 13)


def test_rows_given(ids):
    net, rows = Language(), torch.randn(2, 6)
    ts.widen(net, "embed", tokens=13, rows=rows, example_inputs=ids)
    assert torch.equal(net.embed.weight[11:], rows)
    assert torch.equal(net.head.bias[11:], net.head.bias[:11].mean().expand(2))


def test_head_of_its_own_is_told_and_may_be_selected(ids):
    net = Language(tied=False)
    plan = ts.plan(net, ids).widen("embed", tokens=13)
    assert plan.planned[0].left == {"head": "not tied to it: select it, too, to have it tell the new tokens"}
    assert "left as they are (not tied to it" in str(plan)
    done = plan.apply()
    assert (net.vocab_size, net(ids).shape) == (11, (10, 11))
    done.undo()
    ts.widen(net, "re:embed|head", tokens=13, example_inputs=ids)
    assert net.embed.num_embeddings == net.head.out_features == 13
    assert net(ids).shape == (10, 13)


def test_undo_and_optimizer(ids):
    net = Language()
    answer = net(ids)
    optimizer = torch.optim.AdamW(net.parameters())
    answer.sum().backward()
    optimizer.step()
    momentum = optimizer.state[net.embed.weight]["exp_avg"].clone()
    done = ts.widen(net, "embed", tokens=13, example_inputs=ids, optimizer=optimizer)
    carried = optimizer.state[net.embed.weight]["exp_avg"]
    assert torch.equal(carried[:11], momentum)
    assert not carried[11:].any()
    net(ids).sum().backward()
    optimizer.step()
    done.undo()
    assert net.embed.weight.shape == (11, 6)


def test_average(ids):
    net = Language()
    average = torch.optim.swa_utils.AveragedModel(net)
    ts.widen(net, "embed", tokens=13, example_inputs=ids, ema=average)
    assert average.module.head.weight is average.module.embed.weight
    average.update_parameters(net)


def test_on_meta(ids):
    net = Language().to("meta")
    net.head.weight = net.embed.weight  # which `to` parts
    ts.widen(net, "embed", tokens=13, example_inputs=ids)
    assert net.embed.weight.shape == (13, 6)


CONFIG = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
}
MODELS = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**CONFIG, "tie_word_embeddings": True}, "model.embed_tokens"),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": 64, "n_embd": 32, "n_layer": 1, "n_head": 4},
        "transformer.wte",
    ),
    "bert": ("BertForMaskedLM", "BertConfig", CONFIG, "bert.embeddings.word_embeddings"),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": 64, "d_model": 32, "d_kv": 8, "num_layers": 1},
        "shared",
    ),
}


@pytest.mark.parametrize("which", MODELS)
def test_transformers(which):
    model, config, given, table = MODELS[which]
    net = getattr(transformers, model)(getattr(transformers, config)(**given)).eval()
    ids = torch.randint(60, (1, 7))
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if which == "t5" else {})}
    before, answer = portrait(net), net(**inputs).logits
    done = ts.widen(net, table, tokens=70, example_inputs=inputs, outputs=lambda out: out.logits)
    assert torch.allclose(net(**inputs).logits[..., :64], answer, atol=1e-6)
    assert net.get_input_embeddings().weight is net.get_output_embeddings().weight
    assert net.config.vocab_size == net.get_input_embeddings().num_embeddings == 70
    assert net(**{key: value + 6 for key, value in inputs.items()}).logits.shape == (1, 7, 70)
    done.undo()
    assert portrait(net) == before


def test_one_number_for_a_table_and_a_head_that_would_stay():
    net = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG, tie_word_embeddings=False)).eval()
    ids = torch.randint(60, (1, 7))
    inputs, before = {"input_ids": ids}, portrait(net)

    def logits(out):
        return out.logits

    with pytest.raises(ts.CouplingError, match="alone: lm_head tells as many, and is not tied to it") as raised:
        ts.widen(net, "model.embed_tokens", tokens=70, example_inputs=inputs, outputs=logits)
    assert "('model.embed_tokens', 'lm_head')" in raised.value.way_out
    assert portrait(net) == before
    ts.widen(net, ("model.embed_tokens", "lm_head"), tokens=70, example_inputs=inputs, outputs=logits)
    assert net(input_ids=ids + 6, labels=ids + 6).logits.shape == (1, 7, 70)
    assert net.config.vocab_size == 70


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tokens": 11}, "cannot widen embed 11 → 11 tokens: that is not more"),
        ({"tokens": 0}, "tokens must be a positive whole number"),
        ({"tokens": 13.0}, "tokens must be a positive whole number"),
        ({"tokens": 13, "rows": torch.zeros(3, 6)}, r"rows= are \[3, 6\], but embed gets \[2, 6\]"),
        ({"tokens": 13, "width": 8}, "one of width and tokens="),
        ({"tokens": 13, "example_inputs": None}, "needs example_inputs"),
    ],
    ids=str,
)
def test_senseless(given, message, ids):
    net = Language()
    before = portrait(net)
    with pytest.raises(ts.CouplingError, match=message):
        ts.widen(net, "embed", **{"example_inputs": ids, **given})
    assert portrait(net) == before


def test_what_counts_no_tokens(ids):
    net = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 8), nn.Linear(8, 3))
    before = portrait(net)
    with pytest.raises(ts.CouplingError, match="cannot add tokens to 1: its channels count none"):
        ts.widen(net, "1", tokens=20, example_inputs=ids)
    assert portrait(net) == before


def test_number_in_the_code_that_does_not_follow(ids):
    class Stubborn(Language):
        def forward(self, ids):
            return self.head(self.hidden(self.embed(ids)).relu()).view(-1, 11)

    net = Stubborn()
    before = portrait(net)
    with pytest.raises(ts.VerificationError):
        ts.widen(net, "embed", tokens=13, example_inputs=ids)
    assert portrait(net) == before


def test_saved_and_loaded(tmp_path, ids):
    def base():
        torch.manual_seed(4)
        return Language()

    net = base()
    ts.widen(net, "embed", tokens=13, rows=torch.randn(2, 6), example_inputs=ids)
    ts.save(net, tmp_path / "save", base=base)
    loaded = ts.load(tmp_path / "save", base=base)
    assert loaded.head.weight is loaded.embed.weight
    assert torch.equal(loaded(ids), net(ids))
