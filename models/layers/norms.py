"""Norms for what is small: fp16 numbers, and a batch of one."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

# A vector whose largest entry is under it is made shorter than one: fp16 keeps three digits of numbers from there on.
SMALLEST = 1e-4


def unit_norm(x: Tensor, dim: int) -> Tensor:
    """x / |x| along `dim`; zeros stay zeros, with a finite gradient.

    Divided by its largest entry and by the fourth root of the length n first, a vector's squares add up to something
    between n^-0.5 and n^0.5, so that their sum can neither overflow nor vanish.
    """
    n = x.shape[dim]
    x = x / x.detach().abs().amax(dim, keepdim=True).clamp(min=SMALLEST) / n**0.25
    length: Tensor = x.square().sum(dim, keepdim=True).clamp(min=0.5 * n**-0.5).sqrt()
    return x / length


class BatchNorm(nn.BatchNorm1d):
    """[B, width] -> [B, width]. An epoch may end in a batch of one, which has no deviation: it gets the running one."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] == 1:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
