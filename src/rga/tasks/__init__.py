"""The LightningModules: one task each."""

from rga.tasks.classification import Classification
from rga.tasks.reid import ReID
from rga.tasks.segmentation import Segmentation
from rga.tasks.task import Task

__all__ = ["Classification", "ReID", "Segmentation", "Task"]
