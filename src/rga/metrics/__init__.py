"""Metrics of retrieval, pure functions on features and a torchmetrics class around them, and of segmentation."""

from rga.metrics.iou import intersection_over_union
from rga.metrics.ranking import RankingResult, evaluate_distances, evaluate_ranking
from rga.metrics.reranking import rerank
from rga.metrics.retrieval import RetrievalMetrics
from rga.metrics.single_shot import single_gallery_shot

__all__ = [
    "RankingResult",
    "RetrievalMetrics",
    "evaluate_distances",
    "evaluate_ranking",
    "intersection_over_union",
    "rerank",
    "single_gallery_shot",
]
