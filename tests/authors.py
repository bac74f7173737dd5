"""The authors' re-ID network as the paper's formulae have it, under the names of their checkpoints.

An oracle that shares nothing with the package: torchvision's stages, and the N x N relation written out.
"""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn


def layer(inputs: int, outputs: int, relu: bool = True) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), *([nn.ReLU()] if relu else [])]


class Block(nn.Module):
    """RGA-SC for features of C channels and N positions, s1 = s2 = 8."""

    def __init__(self, channels: int, positions: int) -> None:
        super().__init__()
        self.parts = {"spatial": (channels, positions), "channel": (positions, channels)}
        for kind, (features, nodes) in self.parts.items():
            inner, related = features // 8, nodes // 8
            hidden = max((1 + related) // 8, 1)
            for name in ("gx", "theta", "phi"):
                self.add_module(f"{name}_{kind}", nn.Sequential(*layer(features, inner)))
            self.add_module(f"gg_{kind}", nn.Sequential(*layer(2 * nodes, related)))
            self.add_module(f"W_{kind}", nn.Sequential(*layer(1 + related, hidden), *layer(hidden, 1, relu=False)))

    def weights(self, kind: str, nodes: Tensor) -> Tensor:
        """a_i of every node (section 3.1): nodes (B, F, P) to (B, P)."""
        part = {name: self.get_submodule(f"{name}_{kind}") for name in ("gx", "theta", "phi", "gg", "W")}
        x = nodes.unsqueeze(3)  # (B, F, P, 1)
        theta, phi = part["theta"](x)[..., 0], part["phi"](x)[..., 0]
        r = torch.einsum("bfi,bfj->bij", theta, phi)  # r_ij = theta(x_i)^T phi(x_j)
        relations = torch.cat([r.transpose(1, 2), r], 1)  # (B, 2 P, P): column i is [R(i, :), R(:, i)]
        y = torch.cat([part["gx"](x).mean(1, keepdim=True), part["gg"](relations.unsqueeze(3))], 1)
        return torch.sigmoid(part["W"](y))[:, 0, :, 0]

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = x * self.weights("spatial", x.flatten(2)).reshape(batch, 1, height, width)
        return x * self.weights("channel", x.flatten(2).transpose(1, 2)).reshape(batch, channels, 1, 1)


class Authors(nn.Module):
    """ResNet-50 with last stride 1, RGA-SC after its stages, BNNeck and classifier; random, with statistics that fit.

    Args:
        identities: of the classifier.
        size: (H, W) of the images.
        trunk: another ResNet with layer1 to layer4, without its head.
        shapes: (channels, positions) after each stage of it.
    """

    def __init__(
        self,
        identities: int,
        size: tuple[int, int],
        trunk: nn.Module | None = None,
        shapes: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        if trunk is None:
            trunk = torchvision.models.resnet50()
            trunk.layer4[0].conv2.stride = trunk.layer4[0].downsample[0].stride = (1, 1)
            del trunk.avgpool, trunk.fc
            area = size[0] * size[1]
            shapes = [(256, area // 16), (512, area // 64), (1024, area // 256), (2048, area // 256)]
        self.backbone = trunk
        for number, shape in enumerate(shapes, start=1):
            trunk.add_module(f"rga_att{number}", Block(*shape))
        self.feat_bn = nn.BatchNorm1d(shapes[-1][0])
        self.cls = nn.Linear(shapes[-1][0], identities, bias=False)
        self.double()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                module.momentum = 1.0
        with torch.no_grad():
            self.train()(torch.randn(4, 3, *size, dtype=torch.float64))  # statistics of activations that there are
        self.eval()

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """What each block gives, the feature before BN, and the logits."""
        children = dict(self.backbone.named_children())
        x, blocks = images, {}
        for name, child in children.items():
            if name.startswith("rga_att"):
                continue
            x = child(x)
            if name.startswith("layer"):
                x = blocks[name] = children[name.replace("layer", "rga_att")](x)
        feature = x.mean((2, 3))
        return blocks, feature, self.cls(self.feat_bn(feature))
