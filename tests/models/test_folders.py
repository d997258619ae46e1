"""Hugging Face models from folders, and what is said where they can't be had."""

import pytest
import torch
import transformers

import torchsurgery as ts


@pytest.fixture
def bert(tmp_path):
    """A folder with a tiny BERT, and the model that it was written from."""
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50
    )
    model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    return tmp_path, model


def refusal(reference, **arguments):
    with pytest.raises(ts.SourceError) as caught:
        ts.build(reference, **arguments)
    return caught.value


@pytest.mark.parametrize("prefix", ["", "hf:"])
def test_a_folder_with_weights(bert, prefix):
    folder, saved = bert
    loaded = ts.build(f"{prefix}{folder}")
    assert type(loaded) is type(saved)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), saved.parameters(), strict=True))


def test_a_folder_without_weights(bert):
    folder, saved = bert
    (folder / "model.safetensors").unlink()
    loaded = ts.build(str(folder))
    assert type(loaded) is type(saved)
    assert [p.shape for p in loaded.parameters()] == [p.shape for p in saved.parameters()]


def test_only_the_structure(bert):
    folder, saved = bert
    assert not torch.equal(ts.build(str(folder), pretrained=False).classifier.weight, saved.classifier.weight)


def test_arguments_alter_the_configuration(bert):
    folder, _ = bert
    assert ts.build(str(folder), pretrained=False, num_labels=5).classifier.out_features == 5


def test_a_configuration_without_architectures(bert):
    folder, _ = bert
    transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50
    ).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    assert type(ts.build(str(folder))).__name__ == "BertModel"


def test_code_from_the_hub_is_not_run(bert):
    folder, _ = bert
    assert "code from the hub is not run" in str(refusal(f"hf:{folder}", trust_remote_code=True))


def test_a_folder_of_something_else(tmp_path):
    error = refusal(str(tmp_path))
    assert "has no config.json" in str(error)
    assert error.way_out.endswith("path/file.py:build")


def test_a_folder_with_a_broken_configuration(tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert "can't be read" in str(refusal(str(tmp_path)))


def test_a_saved_surgery(tmp_path):
    (tmp_path / "COMMIT.json").write_text("{}")
    assert "ts.load(" in refusal(str(tmp_path)).way_out


def test_a_hub_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = refusal("hf:nobody/nothing@v1")
    assert str(error).startswith("hf:nobody/nothing@v1 can't be built: ")
    assert "nothing" in str(error)
