"""Compute with one thread on a CPU, so that bits do not depend on how many workers there are."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """Compute the body with one thread of torch if it runs on the CPU."""
    if device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread_of_torch(device: str) -> AbstractContextManager[None]:
    """Do the same where torch is there: a scorer that reads text alone does not import it."""
    return one_thread(device) if "torch" in sys.modules else nullcontext()
