"""SimAM: the energy of each neuron, channel by channel."""

import math

import torch
from torch import Tensor, nn

from . import Oracle


def simam(block: nn.Module, x: Tensor) -> Tensor:
    regularization = 1e-4
    y = torch.zeros_like(x)
    for image, scaled in zip(x, y, strict=True):
        for channel, result in zip(image, scaled, strict=True):
            neurons = channel.flatten()
            mean = sum(neurons) / len(neurons)
            variance = sum((neuron - mean) ** 2 for neuron in neurons) / (len(neurons) - 1)
            energy = 4 * (variance + regularization) / ((channel - mean) ** 2 + 2 * variance + 2 * regularization)
            result.copy_(channel / (1 + torch.exp(-1 / energy)))
    return y


ORACLES = {"simam": Oracle(simam, lambda *shape: 0, (1 / (1 + math.exp(-0.5)), 1))}
