"""Requests that cannot be met: one clear error line each, and nothing on stdout."""

from pathlib import Path

import pytest
from refused import fails

BUDGETS = (
    "write 10% (of the pool's examples), 10%eligible (of those that can be chosen), 5000 (examples), "
    "2Mtok (tokens) or 10%tok (of the pool's tokens)"
)
RANDOM = ("select", "--method", "random")
SCORE = ("score", "--scorer", "likelihood")
STEPS = "pool, ingest, gather, score, select, train, prove, export, report"
KEYS = f"store, demo, models, targets, steps, {STEPS}"


@pytest.fixture
def pool(curate, pool_file: Path) -> None:
    """A store of 26 examples, which no request of this file may change."""
    assert curate("ingest", pool_file).code == 0


def begins(curate, start: str, end: str, *arguments: object) -> None:
    """Assert that stderr is one line with this start and this end."""
    ran = curate(*arguments)
    assert (ran.code, ran.result) == (2, "")
    assert ran.err.count("\n") == 1
    assert ran.err.startswith(start)
    assert ran.err.endswith(end + "\n")


@pytest.mark.usefixtures("pool")
class TestBudget:
    @pytest.mark.parametrize(
        ("budget", "error"),
        [
            ("0", f"budget must be positive, got 0; {BUDGETS}"),
            ("0%", f"budget must be positive, got 0%; {BUDGETS}"),
            ("-5", f"budget must be positive, got -5; {BUDGETS}"),
            ("101%", "budget 101% is more than the whole pool; use at most 100%"),
            ("27", "budget 27 asks for 27 examples, but only 26 are eligible; give at most --budget 26"),
            ("2.5", f"budget of examples must be a whole number, got 2.5; {BUDGETS}"),
            ("many", f"cannot read budget 'many'; {BUDGETS}"),
        ],
    )  # fmt: skip
    def test_amounts(self, curate, budget: str, error: str) -> None:
        fails(curate, f"BudgetError: {error}", *RANDOM, "--budget", budget)

    def test_larger_than_what_a_filter_leaves(self, curate) -> None:
        fails(
            curate,
            "BudgetError: budget 5 asks for 5 examples, but only 2 are eligible "
            "(26 in the pool; excluded: 24 where); give at most --budget 2",
            *RANDOM, "--budget", "5", "--where", "starts_with(prompt, 'Count')",
        )  # fmt: skip

    def test_a_filter_that_leaves_nothing(self, curate) -> None:
        fails(
            curate,
            "ConfigError: no example is eligible for 'random': 26 in the pool, excluded: 26 where; "
            "relax what excludes them",
            *RANDOM, "--budget", "5", "--where", "n_chars > 99999",
        )  # fmt: skip

    def test_tokens_without_a_tokenizer(self, curate) -> None:
        fails(
            curate,
            "MissingColumnError: score 'length' (scorer length) is not in the store; pass --model "
            "MODEL to compute it here, or run: curate score --scorer length --model MODEL",
            *RANDOM, "--budget", "100tok",
        )  # fmt: skip

    def test_none_where_the_method_needs_one(self, curate) -> None:
        error = "ConfigError: method 'random' needs a budget; add --budget 10%, 5000 or 2Mtok"
        fails(curate, error, *RANDOM)

    def test_how_rows_are_written_without_an_output(self, curate) -> None:
        later = "write the selection later: curate export --selection latest -o FILE"
        error = "says how rows are written, and no output is given: add -o FILE, leave it out, or"
        fails(
            curate,
            f"ConfigError: --annotate {error} {later}",
            *RANDOM,
            "--budget",
            "3",
            "--annotate",
        )


@pytest.mark.usefixtures("pool")
class TestNames:
    def test_a_method_with_the_nearest_spelling(self, curate) -> None:
        start = "ConfigError: no method 'randon'; did you mean 'random'; choose one of: "
        begins(curate, start, "", "select", "--method", "randon", "--budget", "3")
        begins(curate, start, "", "methods", "randon")
        error = (
            "ConfigError: no objective 'dtf'; did you mean 'dft'; choose one of: dft, next-token"
        )
        fails(curate, error, "methods", "dtf")

    def test_a_scorer_with_the_nearest_spelling(self, curate, tiny_model: Path) -> None:
        start = "ConfigError: no scorer 'likelyhood'; did you mean 'likelihood'; choose one of: "
        begins(curate, start, "", "score", "--scorer", "likelyhood", "-m", tiny_model)

    def test_a_role_with_the_nearest_spelling(self, curate) -> None:
        roles = "target, proxy, encoder, reward, nli, judge, reference"
        error = f"ConfigError: no role 'proxi'; did you mean 'proxy'; roles are: {roles}"
        fails(curate, error, *SCORE, "--model-for", "proxi=here")

    @pytest.mark.parametrize(
        ("flags", "error"),
        [
            (("--set", "turns"), "--set takes KEY=VALUE, got 'turns'; type --set key=value"),
            (
                ("--set", "trns=last"),
                ("likelihood has no field 'trns'; did you mean 'turns'; its fields are: template=grape, "
                "turns=all, boundary=offsets, score_tokens=response, score_end=false"),
            ),
            (
                ("--set", "turns=lst"),
                ("likelihood.turns='lst' is not one of all, last; did you mean 'last'; "
                "pass --set likelihood.turns=VALUE"),
            ),
            (
                ("--set", "ifd.turns=last"),
                "--set ifd.turns: nothing here uses 'ifd'; fields here belong to: likelihood",
            ),
            (("--workers", "0"), "--workers must be at least 1, got 0"),
            (("--batch-tokens", "0"), "--batch-tokens must be positive, got 0"),
            (("--max-hours", "-1"), "--max-hours must be positive, got -1"),
            (("--limit", "0"), "--limit must be at least 1, got 0"),
            (("--max-failures", "few"), "--max-failures takes a count or a share, got 'few'; type 10 or 1%"),
            (("--dtype", "float8"), "no dtype 'float8'; choose auto, float32, bfloat16, float64"),
            (("--device", "gpu"), "no device 'gpu'; choose auto, cpu, cuda or cuda:0"),
            (("--template", "chatt"), "--template is method, chat, plain or trl, got 'chatt'"),
        ],
    )  # fmt: skip
    def test_options_of_score(
        self, curate, tiny_model: Path, flags: tuple[str, str], error: str
    ) -> None:
        fails(curate, f"ConfigError: {error}", *SCORE, "-m", tiny_model, *flags)
        assert curate("status", "--json").json["score_sets"] == []

    def test_one_alias_for_two_scorers(self, curate, tiny_model: Path) -> None:
        fails(
            curate,
            "ConfigError: --as names one score set, but 2 scorers are given (ifd, length); run them "
            "one at a time, each with its own --as",
            "score", "--scorer", "ifd,length", "-m", tiny_model, "--as", "x",
        )  # fmt: skip

    def test_a_setting_of_two_scorers(self, curate, tiny_model: Path) -> None:
        fails(
            curate,
            "ConfigError: --set turns: say which one it belongs to; write OWNER.turns=VALUE with one of: ifd, likelihood",
            "score", "--scorer", "likelihood,ifd", "-m", tiny_model, "--set", "turns=last",
        )  # fmt: skip

    def test_a_setting_that_nothing_reads(self, curate, tiny_model: Path) -> None:
        fails(
            curate,
            "ConfigError: --set likelihod.turns: nothing here uses 'likelihod'; did you mean "
            "'likelihood'; fields here belong to: grape, length, likelihood",
            "select", "--method", "grape", "-m", tiny_model, "--set", "likelihod.turns=last",
        )  # fmt: skip

    def test_a_revision_of_a_folder(self, curate, tiny_model: Path) -> None:
        fails(
            curate,
            f"ConfigError: --revision 'main' is a revision on the hub, but {str(tiny_model)!r} is a folder; "
            "leave --revision out, or give --model as a hub id",
            *SCORE, "-m", tiny_model, "--revision", "main",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (("ingst",), "no such command 'ingst'; did you mean 'ingest'; see curate --help"),
            (("score",), "missing option '--scorer'; see curate score --help"),
            (
                ("ingest", "pool.jsonl", "--on-error", "ignore"),
                (
                    "invalid value for '--on-error': 'ignore' is not one of 'fail', 'skip'; "
                    "see curate ingest --help"
                ),
            ),
        ],
    )
    def test_usage(self, curate, arguments: tuple[str, ...], error: str) -> None:
        ran = curate(*arguments)
        assert (ran.code, ran.result, ran.err) == (2, "", f"UsageError: {error}\n")


@pytest.mark.usefixtures("pool")
class TestExpressions:
    """The error is one line; two more show the place in the expression."""

    KNOWN = "dataset, group_id, id, mark, messages, n_chars, n_rows, note, prompt, response, row.id, row.prompt, row.response, source"
    FUNCTIONS = (
        "abs, ceil, coalesce, contains, ends_with, exp, floor, greatest, if, least, length, log, "
        "log10, lower, pow, round, sqrt, starts_with, upper"
    )

    @pytest.mark.parametrize("flag", ["--where", "--rank"])
    @pytest.mark.parametrize(
        ("expression", "error", "at"),
        [
            (
                "1 + nchars > 3",
                f"unknown column 'nchars' at character 5 of the expression; did you mean 'n_chars'; available: {KNOWN}",
                4,
            ),
            ("read_csv('x')", f"unknown function 'read_csv' at character 1 of the expression; available: {FUNCTIONS}", 0),
            ("sqrrt(n_chars)", f"unknown function 'sqrrt' at character 1 of the expression; did you mean 'sqrt'; available: {FUNCTIONS}", 0),
            (
                "n_chars; drop table x",
                "unexpected ';' at character 8 of the expression; write columns, numbers, 'text', operators and functions",
                7,
            ),
        ],
    )  # fmt: skip
    def test_what_cannot_be_read(
        self, curate, flag: str, expression: str, error: str, at: int
    ) -> None:
        method = () if flag == "--rank" else ("--method", "random")
        fails(
            curate,
            f"ExpressionError: {error}\n  {expression}\n  {' ' * at}^",
            "select", *method, "-b", "3", flag, expression,
        )  # fmt: skip
        assert curate("status", "--json").json["n_examples"] == 26

    def test_text_where_a_condition_or_a_number_is_needed(self, curate) -> None:
        fails(
            curate,
            "ExpressionError: --where 'prompt' is text, but a condition is needed; compare it with "
            "something, as in: n_chars > 100",
            *RANDOM, "-b", "3", "--where", "prompt",
        )  # fmt: skip
        fails(
            curate,
            "ExpressionError: column 'rank' is text, but a number is needed; use a numeric column, such as n_chars",
            "select", "--rank", "prompt", "-b", "3",
        )  # fmt: skip


@pytest.fixture
def exported(curate, pool: None) -> str:
    """Id of a stored selection of three examples."""
    return str(curate(*RANDOM, "-b", "3", "--json").json["selection_id"])


class TestOutputs:
    def test_a_selection_that_does_not_exist(self, curate, exported: str) -> None:
        error = f"DataError: no selection 'nosuch' in the store; the newest are: {exported}"
        fails(curate, error, "export", "--selection", "nosuch", "-o", "x.jsonl")
        fails(curate, error, "ingest", "--from-selection", "nosuch")
        assert not Path("x.jsonl").exists()

    def test_an_extension_nobody_writes(self, curate, exported: str) -> None:
        error = (
            "DataError: cannot write x.xyz: unknown file type '.xyz'; write .jsonl, .json, .csv, "
            ".parquet or .arrow, each also with .gz or .zst"
        )
        fails(curate, error, "export", "--selection", exported, "-o", "x.xyz")
        before = len(curate("status", "--json").json["selections"])
        fails(curate, error, *RANDOM, "-b", "4", "-o", "x.xyz")
        assert len(curate("status", "--json").json["selections"]) == before

    def test_a_folder_that_cannot_be_written(self, curate, exported: str) -> None:
        Path("file").touch()
        fails(
            curate,
            "DataError: cannot write file/x.jsonl: file is not a folder; choose another place with -o",
            "export", "--selection", exported, "-o", "file/x.jsonl",
        )  # fmt: skip
        fails(
            curate,
            "DataError: cannot write /proc/none/x.jsonl: No such file or directory; choose another "
            "place with -o",
            "export", "--selection", exported, "-o", "/proc/none/x.jsonl",
        )  # fmt: skip

    @pytest.mark.parametrize("text", ['{"tool": "other"}', '{"manifest_version": 1}', "[]"])
    def test_a_manifest_of_another_tool(self, curate, text: str) -> None:
        Path("m.json").write_text(text)
        error = "'m.json' is not a manifest of curate; give the *.manifest.json beside an export"
        fails(curate, f"DataError: {error}", "reproduce", "m.json")

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            (
                "pool: {data: [a], fromat: x}",
                (
                    "unknown key 'pool.fromat'; did you mean 'format'; known here: "
                    "data, from_selection, limit, format, split, source, column, role, on_error"
                ),
            ),
            ("pol: {data: [a]}", f"unknown key 'pol'; did you mean 'pool'; known here: {KEYS}"),
            ("store: a.duckdb", f"there is nothing to do; add steps, or one of: {STEPS}"),
        ],
    )
    def test_a_recipe_with_a_wrong_key(self, curate, text: str, error: str) -> None:
        Path("r.yaml").write_text(text)
        fails(curate, f"ConfigError: recipe 'r.yaml': {error}", "run", "r.yaml")

    def test_a_recipe_that_is_no_yaml(self, curate) -> None:
        Path("r.yaml").write_text("pool: [\n")
        fails(
            curate,
            "ConfigError: recipe 'r.yaml' is not valid YAML: expected the node content, but found "
            "'<stream end>' at line 2 column 1",
            "run", "r.yaml",
        )  # fmt: skip
