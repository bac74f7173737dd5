"""IoU from a confusion matrix against scikit-learn."""

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, jaccard_score

from rga.metrics import intersection_over_union


def test_equals_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels, found = random.integers(0, 6, (2, 5000))
    confusion = torch.from_numpy(confusion_matrix(labels, found, labels=range(6)))
    np.testing.assert_allclose(
        intersection_over_union(confusion), jaccard_score(labels, found, average=None), rtol=1e-12
    )


def test_an_absent_class_is_not_zero() -> None:
    confusion = torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    ious = intersection_over_union(confusion)
    assert ious[2].isnan()
    assert float(ious.nanmean()) == (3 / 4 + 4 / 5) / 2


def test_a_class_that_is_only_predicted_is_zero() -> None:
    assert float(intersection_over_union(torch.tensor([[3, 1], [0, 0]]))[1]) == 0.0
