"""Every public class of torch.nn, with each argument of its constructor off its default, one at a time.

`CASES[name]` is (arguments, variants, inputs): a call that works, changes to it, and what makes the tensors that
the layer is called with; None for what has no forward.
"""

import inspect
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.linear_cross_entropy_options import LinearCrossEntropyOptions

CLASSES = sorted(name for name, cls in vars(nn).items() if isinstance(cls, type) and issubclass(cls, nn.Module))

# They never vary: the first two follow the tensors, the next are spelled `reduction` nowadays, the last `min_val`.
# Only zeros are allowed where a convolution is transposed, and without a GPU a DataParallel takes its module only.
ONLY_ONE = {"DataParallel": {"device_ids", "output_device", "dim"}} | {
    f"{lazy}ConvTranspose{d}d": {"padding_mode"} for lazy in ("", "Lazy") for d in (1, 2, 3)
}
NOT_VARIED = {"device", "dtype", "size_average", "reduce", "_weight", "min_value", "max_value"}


@dataclass(frozen=True)
class Case:
    """A class's constructor arguments, changes to them, and what makes inputs."""

    arguments: dict[str, Any] = field(default_factory=dict)
    variants: tuple[dict[str, Any], ...] = ()
    inputs: Any = None

    def configs(self):
        """The arguments, and then with each variant; a variant may leave an argument out by giving it as `OUT`."""
        yield self.arguments
        for variant in self.variants:
            yield {name: value for name, value in (self.arguments | variant).items() if value is not OUT}


OUT = object()


def one(*shape):
    return lambda: (torch.randn(*shape),)


def given(make):
    """A name for what makes inputs."""
    return make


def varied(**values):
    return [{name: value} for name, value in values.items()]


L, HW, DHW = (2, 4, 8), (2, 4, 6, 6), (2, 4, 5, 5, 5)
SHAPES = {1: L, 2: HW, 3: DHW}
CASES = {}


def add(name, arguments=None, *variants, inputs=None):
    CASES[name] = Case(
        arguments or {}, tuple(v for vs in variants for v in (vs if isinstance(vs, list) else [vs])), inputs
    )


# --- activations
for name in ("Sigmoid", "Tanh", "LogSigmoid", "Softsign", "Tanhshrink", "Softmax2d"):
    add(name, inputs=one(*HW))
for name in ("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardsigmoid", "Hardswish"):
    add(name, {}, {"inplace": True}, inputs=one(*L))
for name in ("ELU", "CELU"):
    add(name, {}, varied(alpha=0.3, inplace=True), inputs=one(*L))
add("LeakyReLU", {}, varied(negative_slope=0.3, inplace=True), inputs=one(*L))
add("RReLU", {}, varied(lower=0.2, upper=0.7, inplace=True), inputs=one(*L))
add("Hardtanh", {}, varied(min_val=-0.3, max_val=0.3, inplace=True), inputs=one(*L))
add("Threshold", {"threshold": 0.1, "value": 2.0}, {"inplace": True}, inputs=one(*L))
add("GELU", {}, {"approximate": "tanh"}, inputs=one(*L))
add("GLU", {}, {"dim": 1}, inputs=one(*L))
add("Softplus", {}, varied(beta=2.0, threshold=0.5), inputs=one(*L))
for name in ("Hardshrink", "Softshrink"):
    add(name, {}, {"lambd": 0.1}, inputs=one(*L))
for name in ("Softmin", "Softmax", "LogSoftmax"):
    add(name, {"dim": 1}, {"dim": -1}, inputs=one(*L))
add("PReLU", {}, varied(num_parameters=4, init=0.7), inputs=one(*L))
query = given(lambda: (torch.randn(3, 3, 8), torch.randn(3, 3, 8), torch.randn(3, 3, 8)))
add(
    "MultiheadAttention",
    {"embed_dim": 8, "num_heads": 2},
    varied(num_heads=4, dropout=0.3, bias=False, add_bias_kv=True, add_zero_attn=True, kdim=8, vdim=8),
    {"batch_first": True, "num_heads": 1},
    {"bias": False, "add_bias_kv": True},
    inputs=query,
)

# --- dropout
for name in ("Dropout", "AlphaDropout", "FeatureAlphaDropout", "Dropout1d", "Dropout2d", "Dropout3d"):
    shape = SHAPES[int(name[-2])] if name[-1] == "d" else L
    add(name, {}, varied(p=0.2, inplace=True), inputs=one(*shape))

# --- convolutions
for d, shape in SHAPES.items():
    # kernel sizes that differ along each axis, so that none can be taken for another
    kernel = (3, 2, 1)[:d]
    conv = varied(
        kernel_size=2,
        stride=2,
        padding=1,
        dilation=2,
        groups=2,
        bias=False,
        padding_mode="reflect",
        in_channels=4,
        out_channels=6,
    )
    more = [
        {"padding": "same"},
        {"padding": "valid"},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": "same", "padding_mode": "replicate", "dilation": 2},
        {"stride": (2, 1, 2)[:d], "padding": (1, 0, 1)[:d]},
    ]
    for lazy in ("", "Lazy"):
        own = {} if lazy else {"in_channels": 4}
        base = own | {"out_channels": 8, "kernel_size": kernel}
        changes = [v for v in conv if not (lazy and "in_channels" in v)]
        add(f"{lazy}Conv{d}d", base, changes, more, inputs=one(*shape))
        up = [v for v in changes if "padding_mode" not in v]
        turned = [{"output_padding": 1, "stride": 2}, {"output_padding": (1, 0, 1)[:d], "stride": 2, "groups": 4}]
        add(f"{lazy}ConvTranspose{d}d", base, up, turned, inputs=one(*shape))

# --- linear
add("Identity", inputs=one(*L))
add("Linear", {"in_features": 8, "out_features": 3}, {"bias": False}, inputs=one(2, 8))
add("LazyLinear", {"out_features": 3}, {"bias": False}, inputs=one(2, 8))
add(
    "Bilinear",
    {"in1_features": 3, "in2_features": 4, "out_features": 2},
    {"bias": False},
    inputs=lambda: (torch.randn(2, 3), torch.randn(2, 4)),
)

# --- normalisation
for d, shape in SHAPES.items():
    norm = varied(eps=0.1, momentum=0.3, affine=False, track_running_stats=False, bias=False)
    more = [{"momentum": None}, {"affine": False, "track_running_stats": False}, {"affine": False, "bias": False}]
    add(f"BatchNorm{d}d", {"num_features": 4}, norm, more, inputs=one(*shape))
    add(f"LazyBatchNorm{d}d", {}, norm, more, inputs=one(*shape))
    instance = [*varied(eps=0.1, affine=True, track_running_stats=True), {"affine": True, "bias": False}]
    instance += [{"momentum": 0.3, "track_running_stats": True}, {"affine": True, "track_running_stats": True}]
    add(f"InstanceNorm{d}d", {"num_features": 4}, instance, inputs=one(*shape))
    lazy = [v | {"affine": True} for v in instance if v != {"eps": 0.1}]
    add(f"LazyInstanceNorm{d}d", {"affine": True}, lazy, {"affine": False}, {"eps": 0.1}, inputs=one(*shape))
more = [{"momentum": None}, {"process_group": "a group"}]
add("SyncBatchNorm", {"num_features": 4}, norm, more, inputs=one(*HW))
group = {"num_groups": 2, "num_channels": 4}
add("GroupNorm", group, varied(num_groups=4, eps=0.1, affine=False, bias=False), inputs=one(*HW))
shapes = [{"normalized_shape": (4, 8)}, {"normalized_shape": [4, 8]}]
add("LayerNorm", {"normalized_shape": 8}, shapes, varied(eps=0.1, elementwise_affine=False, bias=False), inputs=one(*L))
add("RMSNorm", {"normalized_shape": 8}, shapes, varied(eps=0.1, elementwise_affine=False), inputs=one(*L))
for name in ("LocalResponseNorm", "CrossMapLRN2d"):
    add(name, {"size": 2}, varied(alpha=0.1, beta=0.5, k=2.0), inputs=one(*HW))

# --- pooling
for d, shape in SHAPES.items():
    pool = varied(stride=1, padding=1, ceil_mode=True, kernel_size=(2, 3, 2)[:d])
    add(f"MaxPool{d}d", {"kernel_size": 3}, pool, varied(dilation=2, return_indices=True), inputs=one(*shape))
    averaged = [{"count_include_pad": False, "padding": 1}, *([{"divisor_override": 5}] if d > 1 else [])]
    add(f"AvgPool{d}d", {"kernel_size": 3}, pool, averaged, inputs=one(*shape))
    rest = varied(stride=1, ceil_mode=True, kernel_size=(2, 3, 2)[:d] if d > 1 else 2)
    add(f"LPPool{d}d", {"norm_type": 2, "kernel_size": 3}, rest, {"norm_type": 3.0}, inputs=one(*shape))
    sizes = [{"output_size": n} for n in (2, (2, 1, 3)[:d], *([(2, None, 3)[:d]] if d > 1 else []))]
    add(f"AdaptiveAvgPool{d}d", {"output_size": 3}, sizes, inputs=one(*shape))
    add(f"AdaptiveMaxPool{d}d", {"output_size": 3}, sizes, {"return_indices": True}, inputs=one(*shape))
    indices = given(lambda d=d: (torch.randn(1, 1, *[2] * d), torch.arange(2**d).view(1, 1, *[2] * d)))
    add(
        f"MaxUnpool{d}d",
        {"kernel_size": 2},
        varied(kernel_size=3, stride=3, padding=0),
        {"padding": 1, "stride": 4},
        inputs=indices,
    )
for d in (2, 3):
    ratio = {"output_size": OUT, "output_ratio": 0.6}
    samples = {"_random_samples": torch.rand(2, 4, d)}
    add(
        f"FractionalMaxPool{d}d",
        {"kernel_size": 2, "output_size": 2},
        ratio,
        {"return_indices": True},
        samples,
        {"kernel_size": (2, 1, 2)[:d], "output_size": (3, 2, 2)[:d]},
        inputs=one(*SHAPES[d]),
    )

# --- padding
for d, shape in SHAPES.items():
    for kind in ("Reflection", "Replication", "Zero", "Circular", "Constant"):
        value = {"value": 0.5} if kind == "Constant" else {}
        changes = [{"padding": (1, 2, 0, 1, 2, 0)[: 2 * d]}, *([{"value": -1.0}] if value else [])]
        add(f"{kind}Pad{d}d", {"padding": 1} | value, changes, inputs=one(*shape))

# --- shapes
add("Flatten", {}, varied(start_dim=0, end_dim=1), inputs=one(*L))
add("Unflatten", {"dim": 2, "unflattened_size": (2, 4)}, {"dim": -1, "unflattened_size": (4, 2)}, inputs=one(*L))
fold = {"output_size": (4, 5), "kernel_size": (2, 2)}
add(
    "Fold",
    fold,
    {"dilation": 2, "output_size": (5, 6)},
    {"padding": 1, "output_size": (2, 3)},
    {"stride": 2, "output_size": (6, 8)},
    inputs=one(1, 4, 12),
)
add("Unfold", {"kernel_size": 2}, varied(dilation=2, padding=1, stride=2, kernel_size=(2, 1)), inputs=one(*HW))
add("PixelShuffle", {"upscale_factor": 2}, inputs=one(*HW))
add("PixelUnshuffle", {"downscale_factor": 2}, {"downscale_factor": 3}, inputs=one(*HW))
add("ChannelShuffle", {"groups": 2}, {"groups": 4}, inputs=one(*HW))
add(
    "Upsample",
    {"scale_factor": 2},
    {"size": 9, "scale_factor": OUT},
    {"scale_factor": (2, 1.5)},
    {"mode": "bilinear"},
    {"mode": "bilinear", "align_corners": True},
    {"scale_factor": 1.3, "recompute_scale_factor": True, "mode": "bicubic"},
    inputs=one(*HW),
)
for name in ("UpsamplingNearest2d", "UpsamplingBilinear2d"):
    add(name, {"scale_factor": 2}, {"size": (7, 9), "scale_factor": OUT}, {"scale_factor": (2, 3)}, inputs=one(*HW))

# --- distances
pair = given(lambda: (torch.randn(2, 8), torch.randn(2, 8)))
add("PairwiseDistance", {}, varied(p=1.0, eps=0.1, keepdim=True), inputs=pair)
add("CosineSimilarity", {}, varied(dim=0, eps=10.0), inputs=pair)

# --- recurrent
sequence = given(lambda: (torch.randn(5, 2, 4),))
recurrent = varied(num_layers=2, bias=False, batch_first=True, bidirectional=True)
recurrent += [{"num_layers": 2, "dropout": 0.4}, {"num_layers": 2, "bidirectional": True, "bias": False}]
sizes = {"input_size": 4, "hidden_size": 3}
add("RNN", sizes, recurrent, {"nonlinearity": "relu"}, inputs=sequence)
add("GRU", sizes, recurrent, inputs=sequence)
add(
    "LSTM",
    sizes,
    recurrent,
    {"proj_size": 2},
    {"proj_size": 2, "num_layers": 2, "bidirectional": True},
    inputs=sequence,
)
modes = [{"mode": "GRU"}, {"mode": "RNN_TANH"}, {"proj_size": 1}]
add("RNNBase", {"mode": "LSTM"} | sizes, recurrent, modes)
add("RNNCell", sizes, varied(bias=False, nonlinearity="relu"), inputs=one(2, 4))
add("GRUCell", sizes, {"bias": False}, inputs=one(2, 4))
add("LSTMCell", sizes, {"bias": False}, inputs=one(2, 4))
add("RNNCellBase", sizes | {"bias": True, "num_chunks": 2}, {"bias": False})

# --- embeddings
words = given(lambda: (torch.tensor([[0, 1, 2], [4, 5, 1]]),))
table = {"num_embeddings": 6, "embedding_dim": 3}
entries = varied(padding_idx=1, max_norm=0.5, scale_grad_by_freq=True, sparse=True)
entries += [{"padding_idx": -1}, {"max_norm": 0.5, "norm_type": 1.0}]
add("Embedding", table, entries, {"_freeze": True}, inputs=words)
bags = given(lambda: (torch.tensor([0, 1, 2, 4, 5, 1]), torch.tensor([0, 2, 6])))
ways = varied(padding_idx=1, max_norm=0.5, sparse=True, mode="sum", include_last_offset=True)
ways += [{"padding_idx": -1}, {"max_norm": 0.5, "norm_type": 1.0}, {"scale_grad_by_freq": True}]
bags = given(lambda: (torch.tensor([0, 1, 2, 4, 5, 1]), torch.tensor([0, 2, 6])))
add("EmbeddingBag", table, ways, inputs=bags)

# --- losses
values = given(lambda: (torch.randn(3, 4), torch.randn(3, 4)))
labels = given(lambda: (torch.randn(3, 4), torch.tensor([1, 0, 3])))
signs = given(lambda: (torch.randn(3, 4), torch.ones(3, 4) - 2 * torch.eye(3, 4)))
shares = given(lambda: (torch.rand(3, 4), torch.rand(3, 4)))
three = given(lambda: (torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)))
by_sign = given(lambda: (torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1.0, -1.0, 1.0])))
class_weight = torch.tensor([0.5, 1.0, 2.0, 0.1])
reduction = {"reduction": "none"}
summed = {"reduction": "sum"}
add("L1Loss", {}, reduction, summed, inputs=values)
add("MSELoss", {}, reduction, inputs=values)
add("SmoothL1Loss", {}, reduction, {"beta": 0.3}, inputs=values)
add("HuberLoss", {}, reduction, {"delta": 0.3}, inputs=values)
add("NLLLoss", {}, reduction, {"weight": class_weight}, {"ignore_index": 1}, inputs=labels)
image = given(lambda: (torch.randn(2, 4, 3, 3), torch.arange(18).view(2, 3, 3) % 4))
add("NLLLoss2d", {}, reduction, {"weight": class_weight}, {"ignore_index": 1}, inputs=image)
add("CrossEntropyLoss", {}, reduction, varied(weight=class_weight, ignore_index=1, label_smoothing=0.2), inputs=labels)
add(
    "PoissonNLLLoss", {}, reduction, varied(log_input=False, full=True), {"eps": 0.1, "log_input": False}, inputs=shares
)
add(
    "GaussianNLLLoss",
    {},
    reduction,
    varied(full=True, eps=0.9),
    inputs=lambda: (torch.randn(3, 4), torch.randn(3, 4), torch.rand(3, 4)),
)
add("KLDivLoss", {"reduction": "batchmean"}, summed, {"log_target": True}, inputs=shares)
add("BCELoss", {}, reduction, {"weight": class_weight}, inputs=shares)
add("BCEWithLogitsLoss", {}, reduction, varied(weight=class_weight, pos_weight=class_weight), inputs=shares)
add("HingeEmbeddingLoss", {}, reduction, {"margin": 0.2}, inputs=signs)
add("MultiLabelMarginLoss", {}, reduction, inputs=lambda: (torch.randn(3, 4), torch.tensor([[1, 2, -1, 0]] * 3)))
marks = given(lambda: (torch.randn(3, 4), torch.tensor([[1, -1, 1, -1]] * 3)))
add("SoftMarginLoss", {}, reduction, inputs=marks)
add("MultiLabelSoftMarginLoss", {}, reduction, {"weight": class_weight}, inputs=shares)
add("CosineEmbeddingLoss", {}, reduction, {"margin": 0.5}, inputs=by_sign)
add(
    "MarginRankingLoss",
    {},
    reduction,
    {"margin": 0.5},
    inputs=lambda: (torch.randn(3), torch.randn(3), torch.tensor([1.0, -1.0, 1.0])),
)
add("MultiMarginLoss", {}, reduction, varied(p=2, margin=0.3, weight=class_weight), inputs=labels)
add("TripletMarginLoss", {}, reduction, varied(margin=0.3, p=1.0, eps=0.1, swap=True), inputs=three)
add(
    "TripletMarginWithDistanceLoss",
    {},
    reduction,
    varied(margin=0.3, swap=True, distance_function=F.pairwise_distance),
    {"distance_function": nn.PairwiseDistance(p=1.0)},
    inputs=three,
)
heard = given(
    lambda: (
        torch.randn(6, 2, 4).log_softmax(2),
        torch.tensor([[1, 2], [3, 3]]),
        torch.tensor([6, 3]),
        torch.tensor([2, 2]),
    )
)
add("CTCLoss", {}, reduction, varied(blank=0, zero_infinity=True), {"blank": 2}, inputs=heard)
add(
    "LinearCrossEntropyLoss",
    {"in_features": 5, "num_classes": 4},
    reduction,
    varied(bias=True, weight=class_weight, ignore_index=1, label_smoothing=0.2, options=LinearCrossEntropyOptions()),
    inputs=lambda: (torch.randn(3, 5), torch.tensor([1, 0, 3])),
)
tail = {"in_features": 8, "n_classes": 12, "cutoffs": [3, 6], "div_value": 2.0}
clusters = given(lambda: (torch.randn(3, 8), torch.tensor([0, 5, 11])))
add("AdaptiveLogSoftmaxWithLoss", tail, varied(div_value=1.5, head_bias=True, cutoffs=(4,)), inputs=clusters)

# --- transformers
block = {"d_model": 8, "nhead": 2, "dim_feedforward": 12}
blocks = varied(
    dropout=0.4,
    activation=F.gelu,
    layer_norm_eps=0.1,
    batch_first=True,
    norm_first=True,
    bias=False,
    dim_feedforward=16,
    nhead=4,
)
blocks += [
    {"activation": "gelu"},
    {"activation": nn.GELU()},
    {"activation": nn.PReLU(init=0.4)},
    {"activation": torch.tanh},
]
once = one(3, 2, 8)
twins = given(lambda: (torch.randn(3, 3, 8), torch.randn(3, 3, 8)))
add("TransformerEncoderLayer", block, blocks, inputs=once)
add("TransformerDecoderLayer", block, blocks, inputs=twins)
encoder_layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
stack = varied(num_layers=3, norm=nn.LayerNorm(8), enable_nested_tensor=False, mask_check=False)
odd = nn.TransformerEncoderLayer(8, 4, 12, activation=nn.PReLU(), norm_first=True)
add("TransformerEncoder", {"encoder_layer": encoder_layer, "num_layers": 2}, stack, {"encoder_layer": odd}, inputs=once)
decoder_layer = nn.TransformerDecoderLayer(8, 2, 12)
add(
    "TransformerDecoder",
    {"decoder_layer": decoder_layer, "num_layers": 2},
    varied(num_layers=1, norm=nn.LayerNorm(8)),
    inputs=twins,
)
whole = block | {"num_encoder_layers": 1, "num_decoder_layers": 1}
custom = [
    {"custom_encoder": nn.TransformerEncoder(encoder_layer, 2, enable_nested_tensor=False)},
    {"custom_decoder": nn.TransformerDecoder(decoder_layer, 2)},
    {"num_encoder_layers": 2},
    {"num_decoder_layers": 2},
]
add("Transformer", whole, blocks, custom, inputs=twins)

# --- containers
layers = given(lambda: [nn.Linear(4, 3), nn.ReLU()])
add("Module")
add("Container", {}, {"first": nn.Linear(2, 3)})
add("Sequential", inputs=one(*L))
add("ModuleList", {}, {"modules": layers()})
add("ModuleDict", {}, {"modules": OrderedDict(z=nn.Linear(4, 3), a=nn.ReLU())})
add("ParameterList", {}, {"values": [nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(2))]})
add("ParameterDict", {}, {"parameters": OrderedDict(z=nn.Parameter(torch.randn(3)), a=nn.Parameter(torch.randn(2)))})
add("DataParallel", {"module": nn.Linear(8, 3)}, inputs=one(2, 8))

# what wants other inputs: (class, arguments, inputs)
FURTHER = [
    (
        "MultiheadAttention",
        {"embed_dim": 8, "num_heads": 2} | sides,
        lambda sides=sides: tuple(torch.randn(3, 2, n) for n in (8, sides.get("kdim", 8), sides.get("vdim", 8))),
    )
    for sides in (
        {"kdim": 4},
        {"vdim": 6},
        {"kdim": 4, "vdim": 6, "bias": False},
        {"kdim": 4, "vdim": 4, "add_bias_kv": True},
    )
]
FURTHER += [
    (
        "LinearCrossEntropyLoss",
        {"in_features": 5, "num_classes": 4, "out_features": (2,)},
        lambda: (torch.randn(3, 5), torch.tensor([[1, 0], [2, 3], [0, 0]])),
    ),
    ("Linear", {"in_features": 0, "out_features": 3}, one(2, 0)),
    ("Sequential", {}, one(2, 3)),
]


def unvaried(name):
    """Arguments of a class's constructor that no case has off its default."""
    parameters = inspect.signature(getattr(nn, name).__init__).parameters.values()
    seen = {n for config in CASES[name].configs() for n in config}
    seen |= {n for cls, config, _ in FURTHER if cls == name for n in config}
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named - seen - NOT_VARIED - ONLY_ONE.get(name, set()) - {"self"}
