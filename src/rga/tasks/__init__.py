"""The LightningModules: one task each."""

from rga.tasks.reid import ReID

__all__ = ["ReID"]
