"""Heads: what a network's outputs say about an action's return, and their loss. One file for each."""

from tensorq.settings import Choices

HEADS = Choices(
    "head",
    {
        "expected": "tensorq.heads.expected:Expected",
        "categorical": "tensorq.heads.categorical:Categorical",
        "quantile": "tensorq.heads.quantile:Quantile",
        "implicit_quantile": "tensorq.heads.implicit_quantile:ImplicitQuantile",
        "hl_gauss": "tensorq.heads.hl_gauss:HLGauss",
    },
)


def register_head(name: str, home: str) -> None:
    """Register a head under a name. `home` is the "module:Class" of a subclass of tensorq.heads.head.Head."""
    HEADS.register(name, home)
