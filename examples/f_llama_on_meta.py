"""Every Linear of a Llama becomes a Linear of one's own, while the model is on the meta device and holds no memory.

python examples/f_llama_on_meta.py
"""

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

import torchsurgery as ts


class CountingLinear(nn.Linear):
    """A subclass without a constructor of its own: a layer takes the class and keeps all that it has."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        CountingLinear.calls += 1
        return super().forward(x)


def main() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).eval()

    print(ts.select(model, nn.Linear).inside("model.layers.0").expect(7))
    print(ts.replace(model, nn.Linear, CountingLinear))

    linears = ts.select(model, CountingLinear).expect(4 * 7 + 1)  # seven in each block, and the head
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    print(f"on meta: {len(linears)} layers changed, the head is tied to the embedding as before")

    # Weights come when there is room for them: from a checkpoint, or, as here, at random.
    model.to_empty(device="cpu")
    model.init_weights()
    model.tie_weights()
    with torch.no_grad():
        logits = model(torch.randint(config.vocab_size, (2, 16))).logits
    assert logits.shape == (2, 16, 128) and logits.isfinite().all()
    assert CountingLinear.calls == len(linears)
    print(f"on CPU: logits {tuple(logits.shape)}, each of the {CountingLinear.calls} layers was called once")


if __name__ == "__main__":
    main()
