import re
import shlex
from dataclasses import asdict

import pytest

from curate import registry
from curate.api.which_method import JOBS, Job
from curate.cli.app import _parser
from curate.cli.methods import _described

WORDS = (
    "methods: baselines", "methods: diversity", " k-center ", " mig ", "methods: few near-duplicates",
    " dedup ", "methods: towards a target set", " less ", "objectives",
)  # fmt: skip


def test_methods_are_listed_by_what_they_are_for(curate):
    done = curate("methods")
    assert done.code == 0
    which, _, listed = done.out.partition("methods: ")
    assert which.startswith("which one should I use?") and "Take random" in which
    places = [f"methods: {listed}".index(words) for words in WORDS]
    assert places == sorted(places) and "methods: other" not in done.out


def test_no_markup_and_no_value_of_python_is_shown(curate):
    for kind in ("scorer", "selector", "procedure", "objective", "policy", "mixture"):
        for name in registry.names(kind):
            text = _described(registry.describe(registry.get(kind, name)))
            assert not re.search(r"`|\]_|Need\(|Literal\[|:math:|\bFalse\b {2}| None {2}", text), (
                name
            )


def test_every_method_says_what_is_known_of_it():
    parts = {"cluster-draw"}  # what other methods are made of
    for name in registry.names("method"):
        described = registry.describe(registry.get_method(name))
        if not described.purpose.startswith("baselines") and name not in parts:
            assert re.search(r"[Ee]vidence|reports/", described.details), name


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_job_is_a_command_that_the_parser_takes(job: Job):
    command = _parser().commands["select"]
    given = command.make_context("select", ["own.jsonl", *shlex.split(job.options)]).params
    assert given["method"] or given["rank"] or given["mix"]
    if given["method"]:
        registry.get_method(given["method"])


def test_which_one_to_use_is_in_the_document_too(curate):
    assert curate("methods", "--json").json["jobs"] == [asdict(job) for job in JOBS]


def test_a_method_is_described_by_its_alias(curate):
    said = curate("methods", "diverse")
    assert said.out == curate("methods", "kmq").out
    assert said.out.startswith("kmq (selector, also called diverse): ")
    assert curate("methods", "divers").err.startswith(
        "ConfigError: no method 'divers'; did you mean 'diverse'"
    )
