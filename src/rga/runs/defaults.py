"""The defaults of every component that a config names, as far as they act on a result.

A fingerprint counts an option at its default as absent, so that an option may be added, and written out in a config,
without giving the runs that there are another name. The fingerprint is computed without importing torch, hence this
copy; a test compares it with the signatures (tests/runs/test_defaults.py). Whoever changes a default in a signature
changes what old names mean: the version in `rga.runs.identity` says so then.
"""

from typing import Any

_RGA = {"reduction": 8, "squeeze": 8, "relation": True, "vision": True, "zero_init_last": False}
_TASK = {"attention_lr": 1.0}

DEFAULTS: dict[str, dict[str, Any]] = {
    # attention
    "BAM": {"reduction": 16, "dilation": 4},
    "CBAM": {"reduction": 16},
    "CBAMC": {"reduction": 16},
    "Coordinate": {"reduction": 32},
    "DANet": {"reduction": 8},
    "FCC": {"reduction": 8},
    "FCParallel": {"reduction": 8},
    "FCS": {"reduction": 8},
    "GC": {"reduction": 16},
    "NonLocalRGAS": _RGA,
    "RGAC": _RGA,
    "RGACS": _RGA,
    "RGAParallel": _RGA,
    "RGAS": _RGA,
    "RGASC": _RGA,
    "SCSE": {"reduction": 2, "fusion": "add"},
    "SE": {"reduction": 16},
    "SelfCalibrated": {"pooling": 4},
    "SimAM": {"regularization": 1e-4},
    # backbones
    "cifar_densenet": {"growth": 12, "bottleneck": False, "compression": 1.0, "shrink": 1, "weights": None},
    "cifar_resnet": {"shrink": 1, "weights": None},
    "timm_trunk": {"weights": None, "last_stride": 2},
    "torchvision_trunk": {"weights": None, "last_stride": 2, "output_stride": 32},
    # data
    "FolderData": {
        "resize": 256,
        "batch": 256,
        "area": [0.08, 1.0],
        "aspect": [3 / 4, 4 / 3],
        "mirror": 0.5,
        "demo": None,
        "reader": None,
    },
    "ImageData": {"batch": 128, "pad": 4, "mirror": 0.5, "demo": None, "reader": None},
    "ReIDAugment": {
        "translate": 0.5,
        "flip": 0.5,
        "erase": 0.5,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "ReIDData": {
        "identities": 16,
        "images": 4,
        "augment": None,
        "demo": None,
        "reader": None,
        "train_identities": None,
    },
    "SceneData": {
        "class_weights": None,
        "size": [769, 769],
        "batch": 8,
        "steps": 500,
        "scales": [0.5, 2.0],
        "mirror": 0.5,
        "test": ["val", "train"],
        "demo": None,
        "reader": None,
    },
    # heads
    "ASPP": {"rates": [12, 24, 36], "width": 256, "dropout": 0.1},
    "PPM": {"bins": [1, 2, 3, 6], "width": 512, "dropout": 0.1},
    "Plain": {"width": 512, "dropout": 0.1},
    # schedules
    "cosine": {"warmup": 0, "start": 0.0},
    "poly": {"power": 0.9},
    "resnet_steps": {"shrink": 1},
    # tasks
    "Classification": {**_TASK, "smoothing": 0.0},
    "ReID": {
        **_TASK,
        "smoothing": 0.1,
        "margin": 0.3,
        "triplet_weight": 1.0,
        "feature": "after_bn",
        "flip": False,
        "rerank": False,
    },
    "Segmentation": {
        **_TASK,
        "block": None,
        "grid": None,
        "auxiliary": 0.0,
        "auxiliary_stage": "layer3",
        "window": [1024, 2048],
        "scales": [1.0],
        "mirror": False,
    },
    # of others: what has been the same in every version that pyproject.toml allows
    "lightning.pytorch.Trainer": {
        "fast_dev_run": False,
        "limit_train_batches": None,
        "limit_val_batches": None,
        "limit_test_batches": None,
        "overfit_batches": 0.0,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
        "gradient_clip_algorithm": None,
        "deterministic": None,
        "detect_anomaly": False,
    },
    "torch.optim.Adam": {"betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": False, "maximize": False},
    "torch.optim.AdamW": {"betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": False, "maximize": False},
    "torch.optim.SGD": {"dampening": 0, "nesterov": False, "maximize": False},
}
