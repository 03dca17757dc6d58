"""Every registered method, in every variant its fields name, keeps the contract. No skips."""

from dataclasses import replace

import pytest

from curate.contracts import Selector
from curate.registry import get_method, get_procedure, get_selector, names
from curate.testing import check_procedure, check_selector, variants

SELECTORS = [one for name in names("selector") for one in variants(get_selector(name))]
# The check resumes before every step: its time grows with the square of these.
FEW = {"instructmining-fit": {"runs": 8}, "instructmining-search": {"trials": 6}}
PROCEDURES = [
    replace(one, **FEW.get(name, {}))
    for name in names("procedure")
    for one in variants(get_procedure(name))
]


@pytest.mark.parametrize("selector", SELECTORS, ids=str)
def test_selector_keeps_the_contract(selector):
    check_selector(selector)


@pytest.mark.slow
@pytest.mark.parametrize("procedure", PROCEDURES, ids=str)
def test_procedure_keeps_the_contract(procedure):
    check_procedure(procedure)


def test_no_method_is_left_out():
    checked = {one.name for one in (*SELECTORS, *PROCEDURES)}
    assert checked == set(names("method"))
    assert all(issubclass(get_method(name), Selector) for name in {s.name for s in SELECTORS})
