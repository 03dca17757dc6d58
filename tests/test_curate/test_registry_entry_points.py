"""Classes of other packages, which installing them registers."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *paths: Path) -> str:
    path = os.pathsep.join(str(entry) for entry in (*paths, ROOT, ROOT / "selectors"))
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


THIRD_PARTY = '''
    """A method of somebody else."""

    from dataclasses import dataclass
    from typing import ClassVar, final

    import numpy as np

    from curate import Selection, Selector, keep_within, register


    @register
    @final
    @dataclass(frozen=True)
    class FirstById(Selector):
        """Examples in order of id.

        Parameters
        ----------
        backwards
            Last id first.
        """

        name: ClassVar[str] = "first-by-id"
        backwards: bool = False

        def requires(self):
            return {}

        def select(self, view, budget, rng):
            order = np.arange(len(view))
            return Selection(keep_within(order[::-1] if self.backwards else order, budget, view))
'''


def install(folder: Path, module: str, points: str) -> None:
    """Lay out what installing a wheel lays out: the module and its .dist-info folder."""
    (folder / "their_method.py").write_text(dedent(module), encoding="utf-8")
    info = folder / "their_method-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(dedent(points), encoding="utf-8")


def test_selector_of_an_installed_package_is_found_and_keeps_the_contract(tmp_path):
    install(tmp_path, THIRD_PARTY, "[curate.selectors]\nfirst-by-id = their_method:FirstById\n")
    code = """
        from curate.registry import get_selector, names
        from curate.testing import check_selector, variants
        for selector in variants(get_selector("first-by-id")):
            check_selector(selector)
            print(selector)
        print("first-by-id" in names("method"))
    """
    assert run(code, tmp_path).splitlines() == [
        "FirstById(backwards=False)",
        "FirstById(backwards=True)",
        "True",
    ]


def test_entry_point_may_name_a_module(tmp_path):
    install(tmp_path, THIRD_PARTY, "[curate.selectors]\nanything = their_method\n")
    code = "from curate.registry import names; print('first-by-id' in names('selector'))"
    assert run(code, tmp_path) == "True"


WAYS_TO_TRAIN = '''
    """Ways to train of somebody else."""

    from dataclasses import dataclass
    from typing import ClassVar, final

    import numpy as np

    from curate.contracts import BatchPolicy, Loss, Mixture, Objective
    from curate.registry import register


    @register
    @final
    @dataclass(frozen=True)
    class Smoothed(Objective):
        """Cross-entropy with smoothed labels."""

        name: ClassVar[str] = "smoothed"
        share: float = 0.1

        def loss(self, hidden, head, labels, weights):
            logp = head.finish(head.project(hidden)).log_softmax(-1)
            nll = -logp.gather(1, labels.targets[:, None])[:, 0]
            mixed = (1 - self.share) * nll - self.share * logp.mean(-1)
            return Loss((mixed * weights).sum(), nll.detach())


    @register
    @final
    @dataclass(frozen=True)
    class RandomHalf(BatchPolicy):
        """Half of the rows, drawn anew for each batch."""

        name: ClassVar[str] = "random-half"
        needs_stats: ClassVar[bool] = False

        def size(self, n_candidates):
            return -(-n_candidates // 2)

        def keep(self, stats, k, rng, state):
            return np.sort(rng.choice(len(stats.ids), k, replace=False))


    @register
    @final
    @dataclass(frozen=True)
    class Alike(Mixture):
        """Every source the same."""

        name: ClassVar[str] = "alike"

        @property
        def every(self):
            return 10

        def weights(self, step, losses):
            return dict.fromkeys(losses, 1.0)
'''


@pytest.mark.slow
def test_ways_to_train_of_an_installed_package_are_found_and_keep_the_contract(tmp_path):
    points = """
        [curate.objectives]
        smoothed = their_method:Smoothed
        [curate.policies]
        random-half = their_method:RandomHalf
        [curate.mixtures]
        alike = their_method:Alike
    """
    install(tmp_path, WAYS_TO_TRAIN, points)
    code = """
        from curate.registry import get_mixture, get_objective, get_policy
        from curate.testing import check_mixture, check_objective, check_policy
        from curate.train.recipes import build_config
        check_objective(get_objective("smoothed")())
        check_policy(get_policy("random-half")())
        check_mixture(get_mixture("alike")())
        settings = {"objective": "smoothed", "objective.share": "0.2", "policy": "random-half"}
        print(build_config("m", {**settings, "mixture": "alike"}).method)
    """
    assert run(code, tmp_path) == (
        "MethodConfig(lora=None, objective=Smoothed(share=0.2), policy=RandomHalf(), "
        "mixture=Alike())"
    )


def test_broken_entry_point_names_its_package_and_what_to_do(tmp_path):
    install(tmp_path, "import no_such_module", "[curate.scorers]\nbroken = their_method:Scorer\n")
    code = """
        from curate.errors import ConfigError
        from curate.registry import names
        try:
            names("method")
        except ConfigError as error:
            print(error)
    """
    assert run(code, tmp_path) == (
        "entry point 'broken' (their_method:Scorer) of package 'their-method' cannot be loaded: "
        "No module named 'no_such_module'; repair the package, or remove it: pip uninstall "
        "their-method"
    )
