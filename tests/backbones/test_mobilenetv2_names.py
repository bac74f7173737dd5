"""Weights of MobileNetV2 in the layout that older files have."""

from pathlib import Path

import torch
import torchvision

from rga.backbones import torchvision_trunk


def flat(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's state with the layers of each block counted through, ReLU6 included, as the older files have it."""
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if len(parts) > 3 and parts[2] == "conv":
            first = parts[1] == "1"
            if parts[4].isdigit():
                parts[3:5] = [str(3 * int(parts[3]) + int(parts[4]))]
            else:
                parts[3] = str(int(parts[3]) + (2 if first else 4))
        renamed[".".join(parts)] = tensor
    return renamed


def test_flat_names_load_into_torchvisions_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2(weights=None)
    torch.save(flat(network.features.state_dict(prefix="features.")), tmp_path / "flat.pt")
    trunk = torchvision_trunk("mobilenet_v2", weights=tmp_path / "flat.pt")
    assert "features.2.conv.7.weight" in torch.load(tmp_path / "flat.pt", weights_only=True)
    for name, tensor in network.features.state_dict(prefix="features.").items():
        assert torch.equal(trunk.state_dict()[name], tensor), name
