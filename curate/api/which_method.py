"""Which method for which job: what `curate methods` and the documentation say before any list."""

from dataclasses import dataclass
from typing import Final, final

WHEN_RANDOM_SUFFICES: Final = (
    "Take random, and several seeds of it, when the pool is of one kind and one quality and the budget is a "
    "large part of it: in this project's proofs on mathematics no method was ahead of it. Selection pays where the "
    "pool holds what you do not want: wrong answers, copies, other tasks, several responses to choose from."
)


@final
@dataclass(frozen=True, slots=True)
class Job:
    """A job that people come with.

    Parameters
    ----------
    name
        What is wanted.
    options
        The options of ``curate select`` that do it, without data, model and output.
    evidence
        What is known of it, in a phrase.
    runs
        What it runs a model for, in a phrase.
    """

    name: str
    options: str
    evidence: str
    runs: str


JOBS: Final = (
    Job(
        "The hardest 10%", "--method ifd --budget 10%",
        "no difference from random in this project's three comparisons; behind random in tables of others",
        "two renderings in one pass",
    ),
    Job(
        "One of several responses", "--method grape",
        "better than random with planted wrong answers, worse on real solutions of one quality", "one pass",
    ),
    Job(
        "A diverse subset", "--method diverse --budget 2000",
        "covers more of many tasks than random, of a few broad ones no more; better than random in one proof",
        "one pass, k-means",
    ),
    Job(
        "Likely wrong answers", "--rank ifd.ratio_loss --budget 5%",
        "IFD and likelihood tell swapped answers a little better than chance", "one pass",
    ),
    Job("No near-duplicates", "--method dedup", "finds what it defines as a copy", "no model"),
    Job(
        "Nothing of my benchmark", '--method random --where "contamination.n = 0" --budget 100%eligible',
        "finds edited copies until a fifth of the words are replaced", "no model",
    ),
    Job(
        "Like my examples", "--method bm25 --target dev --budget 10%",
        "more of the wanted kind than random for 7 of 9 kinds; no difference from random in the one proof",
        "no model",
    ),
    Job(
        "Given shares of datasets", "--mix math=60%,chat=40% --budget 2000", "the shares are exact",
        "no model, or the method's",
    ),
    Job(
        "One kind, one quality", "--method random --budget 10%",
        "no method was ahead of it in this project's proofs on mathematics", "no model",
    ),
)  # fmt: skip
