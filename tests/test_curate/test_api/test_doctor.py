from mocked_card import MockedCard

from curate.api import doctor


def test_every_card_is_named(monkeypatch):
    assert doctor._devices()[0]["found"].endswith(", no CUDA device")
    MockedCard(monkeypatch, 100, n=2)
    monkeypatch.setattr("torch.cuda.get_device_name", ["Big 1", "Small 2"].__getitem__)
    assert doctor._devices() == [
        {"level": "ok", "what": "device", "found": "Big 1, Small 2", "advice": ""}
    ]
