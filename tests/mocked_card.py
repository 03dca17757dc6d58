"""A CUDA device that is not there: what torch says of it, while models run on the CPU."""

from types import SimpleNamespace

import pytest
import torch

GIB = 2**30


class MockedCard:
    """Answers of ``torch.cuda`` about ``n`` cards; a batch of more than ``room`` tokens does not fit.

    ``tried`` are the tokens of the batches that ran or did not fit, as `launch` got them.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, n: int = 1) -> None:
        from curate.models.passes import device_batch

        self.room = room
        self.tried: list[int] = []
        self.current: list[str] = []
        answers = {
            "is_available": lambda: True,
            "device_count": lambda: n,
            "is_bf16_supported": lambda: True,
            "get_device_capability": lambda device=None: (9, 0),
            "get_device_name": lambda device=None: "Mocked 1",
            "get_device_properties": lambda device: SimpleNamespace(
                name="Mocked 1", total_memory=80 * GIB, index=torch.device(device).index
            ),
            "mem_get_info": lambda device=None: (70 * GIB, 80 * GIB),
            "memory_reserved": lambda device=None: 2 * GIB,
            "max_memory_reserved": lambda device=None: 12 * GIB,
            "reset_peak_memory_stats": lambda device=None: None,
            "empty_cache": lambda: None,
            "set_device": lambda device: self.current.append(str(device)),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)
        original = device_batch.launch

        def launch(model, rows, wants, **options):  # type: ignore[no-untyped-def]
            batch = device_batch.HostBatch.of(
                rows, packed=True, shared=options.get("shared", False)
            )
            self.tried.append(len(batch.values[batch.places["ids"]]))
            if self.tried[-1] > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return original(model, rows, wants, **options)

        monkeypatch.setattr(device_batch, "launch", launch)


@pytest.fixture
def mocked_card(monkeypatch: pytest.MonkeyPatch) -> MockedCard:
    """Return a card of 80 GiB with room for batches of 100 tokens."""
    return MockedCard(monkeypatch, 100)
