"""Small networks with one kind of coupling each, and how to zero what pruning takes out."""

import torch
from torch import nn
from torch.nn import functional as F

from torchsurgery.origins import blocks_of

IMAGE = torch.zeros(2, 3, 8, 8)


class Function(nn.Module):
    """A layer that is a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Block(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, width=8, inside=6):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, inside, 3, padding=1), nn.BatchNorm2d(inside)
        self.conv2, self.bn2 = nn.Conv2d(inside, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Residual(nn.Module):
    """A stem, two residual blocks, a classifier."""

    inputs = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.block1, self.block2 = Block(), Block()
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.block2(self.block1(self.stem(x))).mean((2, 3)))


class Joined(nn.Module):
    """Two branches end to end."""

    inputs = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
        self.norm = nn.BatchNorm2d(10)
        self.c = nn.Conv2d(10, 2, 1)

    def forward(self, x):
        return self.c(F.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1))))


class Grouped(nn.Module):
    """A depthwise and a grouped convolution, and a transposed one."""

    inputs = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.Conv2d(8, 12, 1, groups=4),
            nn.ConvTranspose2d(12, 8, 2, 2, groups=4),
            nn.ConvTranspose2d(8, 4, 2, 2),
            nn.Conv2d(4, 2, 1),
        )

    def forward(self, x):
        return self.layers(x)


class Flat(nn.Module):
    """Positions and channels in one row, as in AlexNet."""

    inputs = (2, 3, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.out = nn.Conv2d(3, 4, 3), nn.Linear(4 * 16, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(F.relu(self.fc(self.conv(x).flatten(1))))


class Heads(nn.Module):
    """Attention with a fused projection: 4 heads of 6."""

    inputs = (2, 7, 10)

    def __init__(self):
        super().__init__()
        self.heads, self.width = 4, 6
        self.qkv, self.out = nn.Linear(10, 72), nn.Linear(24, 10)

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.out(mixed.transpose(1, 2).reshape(n, length, self.heads * self.width))


class Shared(nn.Module):
    """Grouped-query attention: 8 heads share 2 sets of keys and values; a gated feed-forward."""

    inputs = (2, 7, 16)

    def __init__(self):
        super().__init__()
        self.heads, self.shared, self.width = 8, 2, 4
        self.norm = nn.RMSNorm(16)
        self.q, self.k, self.v = nn.Linear(16, 32), nn.Linear(16, 8), nn.Linear(16, 8)
        self.o, self.up, self.down = nn.Linear(32, 16), nn.Linear(16, 24), nn.Linear(12, 16)

    def forward(self, x):
        n, length, _ = x.shape
        h = self.norm(x)
        q = self.q(h).view(n, length, -1, self.width).transpose(1, 2)
        k, v = (layer(h).view(n, length, -1, self.width).transpose(1, 2) for layer in (self.k, self.v))
        k, v = (t.repeat_interleave(self.heads // self.shared, dim=1) for t in (k, v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v, scale=0.5).transpose(1, 2).flatten(2))
        gate, value = self.up(self.norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * value)


class Tied(nn.Module):
    """An embedding whose table is the output layer, too."""

    inputs = (2, 5)

    def __init__(self):
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(x + F.relu(self.hidden(x)) if x.is_floating_point() else F.relu(self.hidden(self.embed(x))))


class Recurrent(nn.Module):
    """Two layers in both directions."""

    inputs = (2, 5, 4)
    kind = nn.LSTM

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.rnn = self.kind(6, 5, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(10, 2)

    def forward(self, x):
        return self.fc(self.rnn(self.first(x))[0])


class Encoder(nn.Module):
    """PyTorch's own transformer layer."""

    inputs = (2, 7, 16)

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 12)
        self.layer = nn.TransformerEncoderLayer(12, 4, 24, batch_first=True)
        self.last = nn.Linear(12, 3)

    def forward(self, x):
        return self.last(self.layer(self.first(x)))


class Normed(nn.Module):
    """weight_norm, GroupNorm, a learnt scale, and a buffer as wide as the channels."""

    inputs = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.a = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3))
        self.norm = nn.GroupNorm(4, 8)
        self.scale = nn.Parameter(torch.randn(8, 1, 1))
        self.register_buffer("shift", torch.randn(8))
        self.b = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.b(self.scale * self.norm(self.a(x)) + self.shift[None, :, None, None])


class Branching(nn.Module):
    """Which layer runs depends on a value."""

    def __init__(self):
        super().__init__()
        self.a, self.yes, self.no = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.a(x)
        return self.yes(hidden) if float(hidden.sum()) > -1e9 else self.no(hidden)


class Auxiliary(nn.Module):
    """A head that only training has."""

    def __init__(self):
        super().__init__()
        self.a, self.out, self.aux = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.a(x)
        return (self.out(hidden), self.aux(hidden)) if self.training else self.out(hidden)


class Half(nn.Module):
    """One half of the channels passes, the other is convolved, and both are shuffled, as in ShuffleNet."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width // 2, width // 2, 1)

    def forward(self, x):
        one, other = x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([one, self.conv(other)], 1), 2)


KINDS = [Residual, Joined, Grouped, Flat, Heads, Shared, Tied, Recurrent, Encoder, Normed]


def built(kind, dtype=torch.float64):
    """A network of this kind in eval, with biases and statistics that are not zero, and inputs for it."""
    net = kind().to(dtype).eval()
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "bias" not in name else torch.randn_like(tensor) * 0.1)
    inputs = torch.randint(11, kind.inputs) if kind is Tied else torch.randn(kind.inputs, dtype=dtype)
    return net, inputs


def members(group):
    """Each axis of the group: (tensor, dim) → the entries that belong to it."""
    return {(m.name, m.dim): m.indices for m in group.members}


def zero(net, kept):
    """Set to zero what pruning would take out."""
    tensors = dict(net.named_parameters()) | {n: b for n, b in net.named_buffers() if not n.endswith("running_var")}
    with torch.no_grad():
        for name, axes in kept.items():
            for axis, indices in axes.items() if name in tensors else ():
                if axis == 0 and name.endswith("original1"):
                    continue  # the direction of weight_norm, which is divided by its norm: its length is zeroed
                zero_beside(tensors[name], axis, indices, axes)


def zero_beside(tensor, axis, entries, axes):
    """Zero what isn't kept along an axis; of a convolution in groups, group by group."""
    blocks = blocks_of(entries)
    rows = torch.tensor(axes.get(0, range(len(tensor)))).tensor_split(len(blocks)) if len(blocks) > 1 else [slice(None)]
    for row, block in zip(rows, blocks, strict=True):
        gone = sorted(set(range(tensor.shape[axis])) - set(block))
        tensor[row] = tensor[row].index_fill(axis, torch.tensor(gone, dtype=torch.long), 0.0)
