"""Batch normalisation over the whole batch of a DDP run, on GPUs and on the CPU."""

from typing import Any

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn

from rga.torch_internals import BatchNorm, all_reduced, check_channels


class SyncBatchNorm(LayerSync):
    """Statistics over all processes: `trainer.sync_batchnorm=true`.

    The modules stay where they are and keep their parameters and names; while training, a synchronised class stands in
    for theirs. On GPUs that is PyTorch's kernel. On the CPU, which PyTorch refuses, and where the network is compiled,
    which that kernel interrupts, it is plain differentiable code.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
                module.__dict__["unsynchronised"] = type(module)
                module.__class__ = _Synchronised
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, _Synchronised):
                module.__class__ = module.__dict__.pop("unsynchronised")
        return model


class _Synchronised(BatchNorm):
    process_group = None  # what nn.SyncBatchNorm.forward looks up: the default group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected a batch of features (B, C, ...), got {input.ndim}-D")

    _check_non_zero_input_channels = check_channels

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        if input.is_cuda and not torch.compiler.is_compiling():
            return nn.SyncBatchNorm.forward(self, input)  # type: ignore[arg-type]
        return self._plain(input)

    def _plain(self, x: Tensor) -> Tensor:
        others = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        wide = x if x.dtype == torch.float64 else x.float()
        total = _Sum.apply(torch.cat([wide.sum(others), wide.new_full([1], x.numel() / x.shape[1])]))
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = wide - mean.view(shape)
        # In two passes: E[x^2] - E[x]^2 would lose half of the digits.
        variance = _Sum.apply(centred.square().sum(others)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), momentum)
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return all_reduced(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return all_reduced(gradient.contiguous())
