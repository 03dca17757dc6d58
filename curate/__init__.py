"""Score a fine-tuning pool once, select subsets with published methods, prove their worth.

Importing this package loads nothing heavy: every public name is fetched at its first use.

Examples
--------
>>> import curate
>>> curate.Budget.parse("10%")
Budget(amount=0.1, unit='share')
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from curate.algorithms.bm25 import TargetBM25 as TargetBM25
    from curate.algorithms.cluster_count import choose_clusters as choose_clusters
    from curate.algorithms.cluster_draw import WeightUpdate as WeightUpdate
    from curate.algorithms.cluster_draw import allocate_to_clusters as allocate_to_clusters
    from curate.algorithms.cluster_draw import draw_from_clusters as draw_from_clusters
    from curate.algorithms.cluster_draw import draw_log_weights as draw_log_weights
    from curate.algorithms.cluster_draw import gumbel_keys as gumbel_keys
    from curate.algorithms.cluster_draw import update_cluster_weights as update_cluster_weights
    from curate.algorithms.cosine import TargetCosines as TargetCosines
    from curate.algorithms.cosine import apart as apart
    from curate.algorithms.directions import DEFAULT_EMBEDDING as DEFAULT_EMBEDDING
    from curate.algorithms.directions import Comparable as Comparable
    from curate.algorithms.directions import check_embedding as check_embedding
    from curate.algorithms.directions import embedding_need as embedding_need
    from curate.algorithms.directions import lengths_of as lengths_of
    from curate.algorithms.directions import part_of as part_of
    from curate.algorithms.directions import without_direction as without_direction
    from curate.algorithms.facility_location import NeighbourGraph as NeighbourGraph
    from curate.algorithms.facility_location import facility_location as facility_location
    from curate.algorithms.farthest_first import farthest_first as farthest_first
    from curate.algorithms.groups import first_in_order as first_in_order
    from curate.algorithms.groups import places_in_group as places_in_group
    from curate.algorithms.groups import sort_within as sort_within
    from curate.algorithms.information_gain import Information as Information
    from curate.algorithms.information_gain import greedy_information as greedy_information
    from curate.algorithms.kmeans import Clusters as Clusters
    from curate.algorithms.kmeans import kmeans as kmeans
    from curate.algorithms.labels import Labels as Labels
    from curate.algorithms.labels import spread_over_similar as spread_over_similar
    from curate.algorithms.prototypes import centroid_cosines as centroid_cosines
    from curate.algorithms.redundancy import highest_before as highest_before
    from curate.algorithms.rules.linear_rules import REWARD_MODEL as REWARD_MODEL
    from curate.algorithms.rules.linear_rules import UNIEVAL_MODEL as UNIEVAL_MODEL
    from curate.algorithms.rules.linear_rules import LinearRule as LinearRule
    from curate.algorithms.rules.linear_rules import read_rule as read_rule
    from curate.algorithms.rules.rule_fitting import RuleFitting as RuleFitting
    from curate.algorithms.rules.size_search import BestSize as BestSize
    from curate.algorithms.rules.size_search import SearchMethod as SearchMethod
    from curate.algorithms.rules.size_search import SizeSearch as SizeSearch
    from curate.algorithms.rules.size_search import check_search_packages as check_search_packages
    from curate.algorithms.seeds import draw_seed as draw_seed
    from curate.algorithms.targeted import Aggregate as Aggregate
    from curate.algorithms.targeted import another_language as another_language
    from curate.algorithms.targeted import flat_lists as flat_lists
    from curate.algorithms.targeted import list_blocks as list_blocks
    from curate.algorithms.targeted import select_by_scores as select_by_scores
    from curate.algorithms.transport import Transport as Transport
    from curate.algorithms.transport import transport as transport
    from curate.api.jobs.job import Job as Job
    from curate.api.pool import Pool as Pool
    from curate.api.pool import open as open
    from curate.api.proof import Proof as Proof
    from curate.api.selection import StoredSelection as StoredSelection
    from curate.contracts import TARGET_SET as TARGET_SET
    from curate.contracts import Budget as Budget
    from curate.contracts import Column as Column
    from curate.contracts import Columns as Columns
    from curate.contracts import DerivedScorer as DerivedScorer
    from curate.contracts import Evaluate as Evaluate
    from curate.contracts import Example as Example
    from curate.contracts import Expression as Expression
    from curate.contracts import ForwardScorer as ForwardScorer
    from curate.contracts import Generate as Generate
    from curate.contracts import Judge as Judge
    from curate.contracts import LoadContext as LoadContext
    from curate.contracts import Mean as Mean
    from curate.contracts import Need as Need
    from curate.contracts import Outcome as Outcome
    from curate.contracts import PoolScorer as PoolScorer
    from curate.contracts import Procedure as Procedure
    from curate.contracts import Rendering as Rendering
    from curate.contracts import Result as Result
    from curate.contracts import Revise as Revise
    from curate.contracts import RowScorer as RowScorer
    from curate.contracts import RunRecipe as RunRecipe
    from curate.contracts import RunScorer as RunScorer
    from curate.contracts import Score as Score
    from curate.contracts import Scorer as Scorer
    from curate.contracts import Segment as Segment
    from curate.contracts import SegmentStats as SegmentStats
    from curate.contracts import Select as Select
    from curate.contracts import Selection as Selection
    from curate.contracts import Selector as Selector
    from curate.contracts import Stat as Stat
    from curate.contracts import Step as Step
    from curate.contracts import Train as Train
    from curate.contracts import Union as Union
    from curate.contracts import Vectors as Vectors
    from curate.contracts import View as View
    from curate.contracts import fit_size as fit_size
    from curate.contracts import keep_within as keep_within
    from curate.contracts import spending as spending
    from curate.contracts import training_settings as training_settings
    from curate.contracts.budget import most_picks as most_picks
    from curate.contracts.budget import read_share as read_share
    from curate.contracts.budget import value_text as value_text
    from curate.errors import BudgetError as BudgetError
    from curate.errors import ConfigError as ConfigError
    from curate.errors import CurateError as CurateError
    from curate.errors import DataError as DataError
    from curate.errors import DeviceError as DeviceError
    from curate.errors import ExampleFailure as ExampleFailure
    from curate.errors import ExpressionError as ExpressionError
    from curate.errors import InterruptedRunError as InterruptedRunError
    from curate.errors import MissingColumnError as MissingColumnError
    from curate.errors import MissingPackageError as MissingPackageError
    from curate.errors import ModelError as ModelError
    from curate.errors import ProcedureError as ProcedureError
    from curate.errors import ScoreError as ScoreError
    from curate.errors import StoreError as StoreError
    from curate.errors import TooManyFailuresError as TooManyFailuresError
    from curate.errors import TrainError as TrainError
    from curate.errors import UndefinedScore as UndefinedScore
    from curate.errors import WorkerError as WorkerError
    from curate.registry import build as build
    from curate.registry import get_selector as get_selector
    from curate.registry import register as register
    from curate.select.inline import reads as reads

__version__ = "0.1.0"

_NAMES: Final[dict[str, str]] = {
    "curate.algorithms.bm25": "TargetBM25",
    "curate.algorithms.cluster_count": "choose_clusters",
    "curate.algorithms.cluster_draw": (
        "WeightUpdate allocate_to_clusters draw_from_clusters draw_log_weights gumbel_keys "
        "update_cluster_weights"
    ),
    "curate.algorithms.cosine": "TargetCosines apart",
    "curate.algorithms.directions": (
        "DEFAULT_EMBEDDING Comparable check_embedding embedding_need lengths_of part_of "
        "without_direction"
    ),
    "curate.algorithms.facility_location": "NeighbourGraph facility_location",
    "curate.algorithms.farthest_first": "farthest_first",
    "curate.algorithms.groups": "first_in_order places_in_group sort_within",
    "curate.contracts.budget": "most_picks read_share value_text",
    "curate.algorithms.information_gain": "Information greedy_information",
    "curate.algorithms.kmeans": "Clusters kmeans",
    "curate.algorithms.labels": "Labels spread_over_similar",
    "curate.algorithms.prototypes": "centroid_cosines",
    "curate.algorithms.redundancy": "highest_before",
    "curate.algorithms.rules.linear_rules": "REWARD_MODEL UNIEVAL_MODEL LinearRule read_rule",
    "curate.algorithms.rules.rule_fitting": "RuleFitting",
    "curate.algorithms.seeds": "draw_seed",
    "curate.algorithms.rules.size_search": "BestSize SearchMethod SizeSearch check_search_packages",
    "curate.algorithms.targeted": "Aggregate another_language flat_lists list_blocks select_by_scores",
    "curate.algorithms.transport": "Transport transport",
    "curate.api.jobs.job": "Job",
    "curate.api.pool": "Pool open",
    "curate.api.proof": "Proof",
    "curate.api.selection": "StoredSelection",
    "curate.contracts": (
        "Budget Column Columns DerivedScorer Evaluate Example Expression ForwardScorer Generate "
        "Judge LoadContext Mean Need Outcome PoolScorer Procedure Rendering Result Revise "
        "RowScorer RunRecipe RunScorer Score Scorer Segment SegmentStats Select Selection "
        "Selector Stat Step TARGET_SET Train Union Vectors View fit_size keep_within spending "
        "training_settings"
    ),
    "curate.errors": (
        "BudgetError ConfigError CurateError DataError DeviceError ExampleFailure ExpressionError "
        "InterruptedRunError MissingColumnError MissingPackageError ModelError ProcedureError "
        "ScoreError StoreError TooManyFailuresError TrainError UndefinedScore WorkerError"
    ),
    "curate.registry": "build get_selector register",
    "curate.select.inline": "reads",
}
_MODULE_OF: Final = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_MODULE_OF]  # noqa: PLE0604 - names are fetched by __getattr__


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
