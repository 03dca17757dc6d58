"""A trace of what runs: which operation took how long on which device, for a viewer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def traced(path: Path | None, device: str) -> Iterator[None]:
    """Write a Chrome trace of the block by torch's profiler, if there is a path for it.

    The file appears whole; until then it takes about ten times its size of memory.
    """
    if path is None:
        yield
        return
    from torch.profiler import ProfilerActivity, profile

    from curate.store.parts import atomic_path

    activities = [ProfilerActivity.CPU]
    if device.startswith("cuda"):
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        yield
    with atomic_path(path) as temporary:
        profiler.export_chrome_trace(str(temporary))
