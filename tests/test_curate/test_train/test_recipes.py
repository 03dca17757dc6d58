import pytest

from curate.errors import ConfigError
from curate.train.config import MethodConfig, TrainConfig
from curate.train.mixtures.loss_proportional import LossProportional
from curate.train.objectives.dft import DFT
from curate.train.policies.drop_highest_loss import DropHighestLoss
from curate.train.recipes import build_config, is_training

BEFORE = {  # what a run's identity held before objectives, policies and mixtures could be chosen
    "lora": None,
    "objective": {"name": "next-token"},
    "policy": {"name": "keep-all"},
    "mixture": {"name": "uniform"},
}


def test_ways_to_train_are_chosen_by_name_and_set_by_dotted_name():
    settings = {
        "objective": "dft", "policy": "drop-highest-loss", "policy.k": "2",
        "mixture": "loss-proportional", "mixture.period": 5,
    }  # fmt: skip
    method = build_config("m", settings).method
    assert method == MethodConfig(None, DFT(), DropHighestLoss(2), LossProportional(period=5))
    identity = build_config("m", settings).identity()["method"]
    assert identity["policy"] == {"name": "drop-highest-loss", "k": 2}
    assert identity["mixture"] == {"name": "loss-proportional", "period": 5, "power": 1.0}


def test_the_defaults_have_the_identity_they_always_had():
    assert build_config("m", {}) == TrainConfig("m")
    assert build_config("m", {}).identity()["method"] == BEFORE
    named = {"objective": "next-token", "policy": "keep-all", "mixture": "uniform"}
    assert build_config("m", named).identity()["method"] == BEFORE
    assert build_config("m", {"objective": None}).identity()["method"] == BEFORE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "dtf"}, "no objective 'dtf'; did you mean 'dft'; choose one of: dft, next"),
        ({"policy": "drop_highest_los"}, "no policy 'drop_highest_los'; did you mean 'drop-high"),
        ({"mixture": "uniforn"}, "no mixture 'uniforn'; did you mean 'uniform'"),
        (
            {"policy.k": 2},
            "policy.k is a setting of drop-highest-loss, but the policy is keep-all; pass --policy d",
        ),
        (
            {"policy": "drop-highest-loss", "policy.kk": 2},
            "drop-highest-loss has no field 'kk'; did you mean 'k'; its fields are: k=1",
        ),
        ({"objective.k": 2}, "next-token has no field 'k'; its fields are: none"),
        (
            {"policy": "drop-highest-loss", "policy.k": "some"},
            "drop-highest-loss.k='some' is not a whole number; pass --set policy.k=VALUE",
        ),
        (
            {"polcy.k": 2},
            "training has no setting 'polcy.k'; did you mean 'policy.k'; known: data.",
        ),
        ({"objectiv": "dft"}, "training has no setting 'objectiv'; did you mean 'objective'"),
        ({"data.turn": "all"}, "training has no setting 'data.turn'; did you mean 'data.turns'"),
    ],
)
def test_wrong_choices_say_what_is_right(settings, message):
    with pytest.raises(ConfigError) as caught:
        build_config("m", settings)
    assert message in str(caught.value)


def test_settings_of_training_are_known_by_their_first_word():
    assert is_training("policy.k") and is_training("objective") and is_training("optimiser.lr")
    assert not is_training("kmq.k") and not is_training("k")
    assert is_training("length.epochs") and not is_training("length.template")
