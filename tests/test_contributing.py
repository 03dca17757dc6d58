"""The recipes of CONTRIBUTING.md work as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
CHECKS = {
    "Shortest": "check_selector(Shortest())",
    "Surprise": "check_scorer(Surprise())",
}


@pytest.mark.parametrize("number", [0, 1])
def test_recipe_passes_its_own_test_and_the_contract(number, tmp_path):
    module, test = BLOCKS[2 * number : 2 * number + 2]
    name = list(CHECKS)[number]
    assert f"class {name}(" in module
    function = re.search(r"def (test_\w+)", test)[1]
    script = tmp_path / "recipe.py"
    script.write_text(
        "import numpy as np\n"
        "from curate import Budget, SegmentStats, View\n"
        "from curate.testing import check_scorer, check_selector\n"
        f"{module}\n{test}\n{function}()\n{CHECKS[name]}\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_make_target_it_names_exists():
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(re.findall(r"make (?:PYTHON=\S+ )?([a-z]+)", TEXT)) <= targets
