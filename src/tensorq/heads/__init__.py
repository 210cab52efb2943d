"""Heads: what a network's outputs say about an action's return, and how they learn. A file each."""

from tensorq.settings import Choices

HEADS = Choices(
    {
        "expected": "tensorq.heads.expected:Expected",
        "categorical": "tensorq.heads.categorical:Categorical",
        "quantile": "tensorq.heads.quantile:Quantile",
        "implicit_quantile": "tensorq.heads.implicit_quantile:ImplicitQuantile",
        "hl_gauss": "tensorq.heads.hl_gauss:HLGauss",
    }
)
