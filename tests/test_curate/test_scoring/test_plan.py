import pickle
from dataclasses import replace
from functools import partial

import pytest

from curate.contracts import Rendering
from curate.errors import ConfigError, ModelError
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.ifd import IFD
from curate.scorers.knn import KNN
from curate.scorers.length import Length
from curate.scorers.likelihood import Likelihood
from curate.scorers.sentence_embedding import SentenceEmbedding
from curate.scoring.options import ScoringOptions
from curate.scoring.passes import WorkerPass
from curate.scoring.plan import plan_passes, unify
from curate.scoring.requests import request_for, resolve_scorer, with_template

Options = partial(ScoringOptions, device="cpu")


def ask(model, *scorers, options=None):
    options = options or Options()
    return [request_for(s, s.name, str(model), options) for s in scorers]


@pytest.mark.parametrize(
    ("name", "models", "cls"),
    [
        ("embedding", {"target": "m"}, Embedding),
        ("embedding", {"target": "m", "encoder": "e"}, SentenceEmbedding),
        ("embedding", {}, Embedding),
        ("likelihood", {"encoder": "e"}, Likelihood),
    ],
)
def test_embedding_means_the_encoder_where_there_is_one(name, models, cls):
    assert resolve_scorer(name, models) is cls


def test_an_unknown_scorer_names_the_nearest_one():
    with pytest.raises(ConfigError, match="did you mean 'likelihood'"):
        resolve_scorer("likelyhood", {})


def test_papers_templates_take_a_pass_each_and_one_template_takes_one(tiny_model):
    requests = ask(tiny_model, Likelihood(), IFD(), Embedding(), DONOD(template="grape"), Length())
    passes = plan_passes(requests)
    assert [one.describe() for one in passes] == [
        "likelihood+donod (grape, 1 segment)",
        "ifd (alpaca-input, 2 segments)",
        "embedding (plain, 1 segment)",
        "length",
    ]
    unified = plan_passes(unify(requests, "plain"))
    assert [one.describe() for one in unified] == [
        "likelihood+ifd+embedding+donod (plain, 2 segments, non-paper template)",
        "length",
    ]
    assert passes[0].renderings == (Rendering("grape"),)
    assert sorted(i for one in passes for i in one.set_ids) == sorted(
        r.key.set_id for r in requests
    )


def test_other_dtypes_and_stored_batch_tokens_are_other_passes(tiny_model):
    one, two = ask(tiny_model, Likelihood(), Embedding(template="grape"))
    assert len(plan_passes([one, two])) == 1
    assert len(plan_passes([one, replace(two, dtype="float64")])) == 2
    stored = {one.key.set_id: {"batch_tokens": 99}}
    assert [p.batch_tokens for p in plan_passes([one, two], stored)] == [99, 2048]
    stored = one.run_parameters()
    assert (stored["batch_tokens"], stored["paper_template"]) == (2048, True)


def test_a_set_asked_for_twice_runs_once(tiny_model):
    assert len(plan_passes(ask(tiny_model, Likelihood(), Likelihood()))[0].rides) == 1


def test_a_pass_travels_to_a_worker(tiny_model):
    for one in plan_passes(ask(tiny_model, Likelihood(), Length())):
        assert pickle.loads(pickle.dumps(WorkerPass(one))) == WorkerPass(one)


def test_pool_scorers_have_no_pass():
    with pytest.raises(ConfigError, match="scorer 'knn' reads the whole pool, not shards"):
        plan_passes([request_for(KNN(), "knn", None, Options(), inputs={"embedding": "x"})])


def test_a_replaced_template_is_marked():
    assert with_template(Likelihood(), "method") == (Likelihood(), True)
    assert with_template(Likelihood(), "grape") == (Likelihood(), True)
    assert with_template(Likelihood(), "chat") == (Likelihood(template="chat"), False)
    assert with_template(KNN(), "chat") == (KNN(), True)


def test_the_key_holds_everything_that_decides_a_score(tiny_model):
    (base,) = ask(tiny_model, Likelihood())
    variants = [
        ask(tiny_model, Likelihood(score_end=True))[0],
        ask(tiny_model, Likelihood(), options=Options(dtype="float64"))[0],
        ask(tiny_model, Likelihood(), options=Options(template="chat"))[0],
    ]
    for field in ("fingerprint", "tokenizer_hash", "max_length", "adapter_fingerprint"):
        changed = replace(base.model, **{field: 7})
        from curate.scoring.keys import score_key

        variants.append(replace(base, key=score_key(base.scorer, changed, "float32", {})))
    ids = [one.key.set_id for one in (base, *variants)]
    assert len(set(ids)) == len(ids)
    (again,) = ask(tiny_model, Likelihood(), options=Options(batch_tokens=7))
    assert again.key.set_id == base.key.set_id  # how it runs is not what it is


def test_length_does_not_depend_on_weights(tiny_model):
    (one,) = ask(tiny_model, Length())
    (two,) = ask(tiny_model, Length(), options=Options(dtype="bfloat16"))
    assert one.key == two.key and one.key.model is None


def test_a_chat_template_is_part_of_the_key(tiny_model):
    (one,) = ask(tiny_model, DONOD())
    assert one.key.template == f"chat@{one.model.chat_template_hash}"


def test_bad_settings_fail_before_anything_runs(tiny_model):
    with pytest.raises(ConfigError, match="no template 'grpe'; did you mean 'grape'"):
        ask(tiny_model, Likelihood(template="grpe"))
    with pytest.raises(ModelError, match="'./nowhere' does not exist"):
        ask("./nowhere", Likelihood())
