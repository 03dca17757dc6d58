"""Plain JSON values out of nested Python ones."""

import math
from types import MappingProxyType

from curate.contracts.json_values import finite_or_none, json_tree


def test_mappings_and_sequences_become_dicts_and_lists_at_any_depth():
    value = MappingProxyType({"a": ({1: None}, [True, (2.5,)]), 3: "b"})
    assert json_tree(value) == {"a": [{"1": None}, [True, [2.5]]], "3": "b"}


def test_the_leaf_function_sees_every_leaf_and_nothing_else():
    seen = []
    json_tree({"a": [1, (2, {"b": 3})]}, seen.append)
    assert seen == [1, 2, 3]


def test_only_floats_that_json_lacks_become_none():
    assert json_tree([math.nan, math.inf, 1.5, 2, "nan", None], finite_or_none) == [
        None, None, 1.5, 2, "nan", None,
    ]  # fmt: skip
