"""The blocks of conf/attention in their textbook form: as the papers' public repositories write them.

What the benches and the tests compare our blocks with. Each form is built from one of our blocks, with copies of its
parameters; it computes the same numbers (to rounding) in the way that people copy today: one convolution per embedding,
the matrix of all pairs in memory, a branch for each kind of pooling, permutations of whole maps. Where a paper and its
repository disagree, the mathematics is our block's (its docstring says which), the way of writing is the repository's.
"""

from collections.abc import Callable

from torch import nn

from rga.bench.textbook import branches, context, gates, pairs

# The name of a config -> its textbook form. RGA's blocks have one of their own: rga.bench.textbook.nxn.
FORMS: dict[str, Callable[..., nn.Module]] = {
    "bam": gates.BAM,
    "cbam": gates.CBAM,
    "cbam_c": gates.CBAMC,
    "cbam_s": gates.CBAMS,
    "coordinate": gates.Coordinate,
    "danet": pairs.DANet,
    "fc_c": gates.FCC,
    "fc_parallel": gates.FCParallel,
    "fc_s": gates.FCS,
    "gc": context.GC,
    "lka": branches.LKA,
    "nonlocal": pairs.NonLocal,
    "nonlocal_rga_s": pairs.NonLocalRGAS,
    "psa_parallel": context.PSAParallel,
    "psa_sequential": context.PSASequential,
    "residual": branches.ResidualAttention,
    "scse": gates.SCSE,
    "se": gates.SE,
    "self_calibrated": branches.SelfCalibrated,
    "simam": gates.SimAM,
    "strip_pooling": branches.StripPooling,
    "triplet": gates.Triplet,
}
