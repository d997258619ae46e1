"""Inputs that a model takes, found without being told."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from sameness import portrait
from torchsurgery.errors import TraceError
from torchsurgery.inputs import arguments_of, followed

EXAMPLES = str(Path(__file__).parents[1] / "examples")


def given(model):
    """The shapes of the inputs that were found, by argument."""
    flow = followed(model.eval())
    return {node.name: node.shapes[0] for node in flow.nodes if node.kind == "input"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Conv2d(5, 2, 3), (1, 5, 64, 64)),
        (nn.Conv1d(5, 2, 3), (1, 5, 1024)),
        (nn.Conv3d(5, 2, 3), (1, 5, 32, 32, 32)),
        (nn.Sequential(nn.Linear(7, 3), nn.BatchNorm1d(3)), (2, 7)),
        (nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 3)), (1, 8)),
        (nn.LSTM(7, 3), (2, 7)),
        (nn.Sequential(nn.BatchNorm2d(7), nn.ReLU()), (2, 7, 32, 32)),
        (nn.Sequential(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.Linear(4 * 24 * 24, 10)), (1, 1, 28, 28)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_by_the_first_layer(model, expected):
    assert list(given(model).values()) == [expected]


def test_an_image_network(resnet18):
    before = portrait(resnet18)
    assert given(resnet18) == {"x": (1, 3, 64, 64)}
    assert portrait(resnet18) == before


def test_timm_says_its_size():
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", depth=1)
    assert given(model) == {"x": (1, 3, 224, 224)}


def test_timm_with_other_channels():
    timm = pytest.importorskip("timm")
    assert given(timm.create_model("resnet18", in_chans=5)) == {"x": (1, 5, 224, 224)}


def test_transformers_of_text_and_of_images():
    transformers = pytest.importorskip("transformers")
    text = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=11
    )
    assert given(transformers.BertModel(text)) == {"input_ids": (1, 8)}
    images = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32, patch_size=16
    )
    assert given(transformers.ViTModel(images)) == {"pixel_values": (1, 3, 32, 32)}


def test_a_sound_as_it_is(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import pitch

    assert given(pitch.crepe()) == {"x": (2, 1024)}
    assert "pitch" in sys.modules


def test_what_cannot_be_found_is_asked_for():
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, one, other):
            return self.fc(one + other)

    model = Pairs()
    with pytest.raises(TraceError, match="no inputs were found that Pairs takes") as caught:
        followed(model)
    assert "example_inputs=" in caught.value.way_out
    x = torch.ones(1, 4)
    assert [node.name for node in followed(model, (x, x)).nodes if node.kind == "input"] == ["one", "other"]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [(1, ((1,), {})), ([1, 2], ((1, 2), {})), ((1,), ((1,), {})), ({"a": 1}, ((), {"a": 1}))],
)
def test_arguments(inputs, expected):
    assert arguments_of(inputs) == expected


def test_a_speech_model_with_a_decoder_is_given_tokens():
    import transformers as hf

    small = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 20, "max_source_positions": 20}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    model = hf.WhisperModel(hf.WhisperConfig(**small, **heads, **tokens))
    assert given(model) == {"input_features": (1, 80, 40), "decoder_input_ids": (1, 8)}
