"""What a model asks of a mask that holds one value is answered without running it."""

import pytest
import torch
import transformers
from torch import nn

import torchsurgery as ts


class Masked(nn.Module):
    """Two layers, and code that decides by a mask that it makes itself."""

    def __init__(self, decide):
        super().__init__()
        self.decide, self.one, self.other = decide, nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        hidden = self.one(x)
        return self.other(hidden) if self.decide(torch.ones(x.shape[:1])) else hidden


def is_computed(decide):
    return ts.trace(Masked(decide), torch.randn(2, 4)).record.computed


@pytest.mark.parametrize(
    "decide",
    [
        lambda mask: mask.to(torch.bool).all(),
        lambda mask: (mask == 1).all(),
        lambda mask: mask[1:].bool().any(),
        lambda mask: (1.0 - mask).le(0).all(),
        lambda mask: mask.half().long()[0] == 1,
        lambda mask: nn.functional.interpolate(mask[None, None], size=(6,)).to(torch.bool).all(),
        lambda mask: torch.full_like(mask, 0.5).gt(0.2).all() and torch.zeros_like(mask).eq(0).all(),
        lambda mask: mask.new_full((3,), 2.0).long()[0] == 2,
    ],
)
def test_one_value_is_told(decide):
    assert not is_computed(decide)
    assert ts.trace(Masked(decide), torch.randn(2, 4)).group("one").giving == ("one",)


def written(mask):
    mask[1] = 0.0
    return mask


def written_through_a_view(mask):
    mask[1:].zero_()
    return mask


def written_before_the_view(mask):
    view = mask[:1]
    mask.mul_(0.0)
    return view


def summed_up(mask):
    return mask.cumsum(0)


def drawn(mask):
    return torch.rand(mask.shape)


@pytest.mark.parametrize("change", [written, written_through_a_view, written_before_the_view, summed_up, drawn])
def test_other_values_are_not(change):
    assert is_computed(lambda mask: not change(mask).to(torch.bool).all())


def test_a_translator_that_makes_its_own_mask_is_traced_on_meta():
    config = transformers.BartConfig(
        vocab_size=99, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.BartForConditionalGeneration(config).eval()
    inputs = {"input_ids": torch.ones(1, 5, dtype=torch.int64), "use_cache": False}
    assert len(ts.trace(model, inputs, outputs=lambda out: out.logits).groups) > 5
