"""Matrix products on a CPU, by oneDNN: packed to score with, and with gradients to train with.

PyTorch's own are MKL's in float32, which leaves half the rate of some processors unused, and arrange the weights anew at every
call. oneDNN keeps what it compiles for each number of rows, and that grows with the number: a few of them are asked for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS, STEP = 512, 64  # the most at once, and of what their number is a multiple


def packable(bf16: bool) -> bool:
    """Whether oneDNN multiplies on this processor, in bfloat16 or in float32."""
    available = torch.backends.mkldnn.is_available()
    return available and (not bf16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())


def rows_asked(n: int) -> int:
    """The rows of a product of n: a power of two, or a multiple of STEP."""
    return 1 << max(0, n - 1).bit_length() if n <= STEP else -(-n // STEP) * STEP


def parts(rows: Tensor) -> Sequence[Tensor]:
    """(n, D) rows, ROWS at a time, zeros below the last ones."""
    *whole, last = rows.split(ROWS)
    more = rows_asked(len(last)) - len(last)
    return [*whole, F.pad(last, (0, 0, 0, more)) if more else last]


def joined(parts: Sequence[Tensor], n: int) -> Tensor:
    """What came of the `parts` of n rows."""
    return (torch.cat(parts) if len(parts) > 1 else parts[0])[:n]


def pointwise(rows: Tensor, weight: Tensor, bias: Tensor | None = None, then: str = "none") -> Tensor:
    """(n, D) rows x (E, D) weight, perhaps packed, + (E,) bias -> (n, E); `then` of that, as oneDNN calls it."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, then, [], "")


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`pointwise` of any number of rows."""
    return joined([pointwise(part, weight, bias) for part in parts(rows)], len(rows))


def summed(a: Tensor, b: Tensor) -> Tensor:
    """The products of (n, D) and (n, E) rows, summed over the rows: (D, E)."""
    first, *more = (pointwise(x.t().contiguous(), y.t()) for x, y in zip(parts(a), parts(b), strict=True))
    for one in more:
        first += one
    return first


class Packed(nn.Module):
    """nn.Linear as it scores, or several with silu between them: the weights lie as oneDNN reads them.

    Of several, as many rows go through all of them at a time as caches hold.
    """

    def __init__(self, *linears: tuple[Tensor, Tensor]):
        """Their weights and biases."""
        super().__init__()
        self.linears = [(torch.ops.mkldnn._reorder_linear_weight(w.detach()), b.detach()) for w, b in linears]

    def __reduce__(self) -> tuple:
        """Copied as plain weights."""
        return Packed, tuple((weight.to_dense(), bias) for weight, bias in self.linears)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.linears[-1][1]
        rows = x.to(bias.dtype).reshape(-1, x.shape[-1])
        return joined([self.through(part) for part in parts(rows)], len(rows)).view(*x.shape[:-1], len(bias))

    def through(self, rows: Tensor) -> Tensor:
        *before, last = self.linears
        for linear in before:
            rows = pointwise(rows, *linear, "swish")  # silu, taken of the sums while they are at hand
        return pointwise(rows, *last)


def pack(scoring: nn.Module) -> None:
    """Pack the weights of a network whose MLPs are folded (`MLP.folded`)."""
    replace(scoring, nn.Sequential, lambda mlp: Packed((mlp[0].weight, mlp[0].bias), (mlp[2].weight, mlp[2].bias)))
    replace(scoring, nn.Linear, lambda linear: Packed((linear.weight, linear.bias)))


class Product(torch.autograd.Function):
    """`product` with gradients."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return product(rows, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, out: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        return product(out, weight.t()) if ctx.needs_input_grad[0] else None, summed(out, rows), out.sum(0)


class Trained(nn.Linear):
    """nn.Linear as it trains: with the parameters of another one."""

    def __init__(self, linear: nn.Linear):
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()  # of others oneDNN's gradients take seconds
        return Product.apply(rows, self.weight, self.bias).view(*x.shape[:-1], len(self.bias))


def train_by(network: nn.Module) -> None:
    """Let a network in float32 train by oneDNN's products; its parameters stay the same."""
    replace(network, nn.Linear, lambda linear: Trained(linear) if linear.out_features > 1 else linear)


def replace(network: nn.Module, kind: type[nn.Module], by: Callable[[Any], nn.Module]) -> None:
    """Put another module in the place of each of a kind."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, kind):
                setattr(module, name, by(child))
