"""Contract checks for scorers, methods and ways to train, for this package and for third parties.

Each check raises `ContractError`, an `AssertionError`, that says which promise was broken. There is
no way to skip a part.

Examples
--------
>>> from curate.registry import get_selector
>>> from curate.testing import check_selector, variants
>>> for selector in variants(get_selector("random")):
...     check_selector(selector)
"""

from curate.testing.common import ContractError, variants
from curate.testing.procedures import check_procedure
from curate.testing.scorers import check_scorer
from curate.testing.selection import check_selector
from curate.testing.synthetic import synthetic_stats, synthetic_view
from curate.testing.training import check_mixture, check_objective, check_policy

__all__ = [
    "ContractError",
    "check_mixture",
    "check_objective",
    "check_policy",
    "check_procedure",
    "check_scorer",
    "check_selector",
    "synthetic_stats",
    "synthetic_view",
    "variants",
]
