"""The re-ID losses against the authors' numbers, and the batches at the edge."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch.nn import functional

from rga.losses import BatchHardTriplet


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parents[1] / "fixtures" / "losses.npz") as file:
        return {name: torch.as_tensor(file[name]) for name in file.files}


def test_triplet_equals_the_authors(reference: dict[str, torch.Tensor]) -> None:
    feature = reference["feature"].requires_grad_()
    loss = BatchHardTriplet(margin=0.3)(feature, reference["label"])
    loss.backward()
    torch.testing.assert_close(loss, reference["triplet"], rtol=0, atol=1e-10)
    torch.testing.assert_close(feature.grad, reference["triplet_grad"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_equals_pytorch_metric_learning(seed: int) -> None:
    """Its miner indexes the triplets. Odd seeds have ties; some identities come once, some not at all."""
    torch.manual_seed(seed)
    feature, label = torch.randn(40, 5, dtype=torch.double), torch.randint(0, 14, (40,))
    feature = feature.round() if seed % 2 else feature
    distance = LpDistance(normalize_embeddings=False)
    theirs = TripletMarginLoss(margin=0.3, distance=distance, reducer=MeanReducer())
    gradients = []
    for loss in (BatchHardTriplet(0.3), lambda x, y: theirs(x, y, BatchHardMiner(distance=distance)(x, y))):
        x = feature.clone().requires_grad_()
        loss(x, label).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_a_factor_of_the_features_is_one_of_the_loss_and_one_of_its_margin(reference: dict[str, torch.Tensor]) -> None:
    """What gates of 1/4 behind the last stage do to the baseline (`experiments/controls.yaml`)."""
    gated, bare = (reference["feature"].detach().clone().requires_grad_() for _ in range(2))
    loss, quarter = (
        BatchHardTriplet(0.3)(gated / 4, reference["label"]),
        BatchHardTriplet(1.2)(bare, reference["label"]) / 4,
    )
    loss.backward()
    quarter.backward()
    torch.testing.assert_close(loss, quarter, rtol=0, atol=1e-12)
    torch.testing.assert_close(gated.grad, bare.grad, rtol=0, atol=1e-12)


def test_torchs_cross_entropy_is_the_authors_label_smoothing(reference: dict[str, torch.Tensor]) -> None:
    loss = functional.cross_entropy(reference["logits"], reference["label"], label_smoothing=0.1)
    torch.testing.assert_close(loss, reference["smoothed_ce"], rtol=0, atol=1e-10)


def test_worked_out_by_hand() -> None:
    """Satisfied anchors count in the mean; a single image is a negative, never an anchor."""
    feature = torch.tensor([[0.0], [1.0], [3.0]])
    # anchor 0: 1 - 3 + m < 0; anchor 1: 1 - 2 + m; the third has no positive
    assert BatchHardTriplet(margin=1.5)(feature, torch.tensor([4, 4, 9])).item() == pytest.approx((0.0 + 0.5) / 2)


def test_equal_features_have_finite_gradients() -> None:
    feature = torch.ones(32, 8, requires_grad=True)
    loss = BatchHardTriplet(margin=0.3)(feature, torch.arange(8).repeat_interleave(4))
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert feature.grad is not None
    assert torch.isfinite(feature.grad).all()


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [1, 2, 3, 4]])
def test_a_batch_without_triplets_is_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match=f"no triplet in a batch of 4 images of {len(set(labels))} identities"):
        BatchHardTriplet()(torch.randn(4, 3), torch.tensor(labels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_distances_are_float32_under_autocast(dtype: torch.dtype) -> None:
    feature, label = torch.randn(16, 8).to(dtype), torch.arange(4).repeat_interleave(4)
    expected = BatchHardTriplet()(feature.float(), label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = BatchHardTriplet()(feature.requires_grad_(), label)
    loss.backward()
    assert loss.dtype == torch.float32
    assert feature.grad is not None
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tf32_does_not_touch_it() -> None:
    """A product in TF32 keeps 10 bits: of distances between 1 and 4 of long features nothing would be right."""
    torch.manual_seed(0)
    label = torch.arange(16).repeat_interleave(4)
    feature = (24 / 2048**0.5 + torch.randn(64, 2048) * 0.04).cuda()
    exact = BatchHardTriplet()(feature.double(), label.cuda())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        torch.testing.assert_close(BatchHardTriplet()(feature, label.cuda()).double(), exact, rtol=1e-4, atol=1e-5)
    finally:
        torch.set_float32_matmul_precision(before)
