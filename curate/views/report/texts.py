"""What a report asks of the texts of a pool, which are read once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from curate.prove.contamination import READ_ROWS
from curate.views.report.pool import Mask, PoolFacts, Rows
from curate.views.report.repeats import RepeatFinder, Repeats
from curate.views.report.shown import Texts, excerpt, read_excerpts

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Store


@final
@dataclass(frozen=True, slots=True, eq=False)
class TextFacts:
    """What the texts of a pool say.

    Parameters
    ----------
    response_chars
        Characters of each example's last response, (n,).
    repeats
        Which examples nearly repeat another one; None if there are no examples.
    shown
        Texts of some examples, by row of the pool: those asked for, and those of pairs that are shown.
    """

    response_chars: Rows
    repeats: Repeats | None
    shown: Texts


def read_texts(store: "Store", pool: PoolFacts, rows: Iterable[int]) -> TextFacts:
    """Read every text once, those of shown pairs twice; ``rows`` of the pool are shown."""
    import pyarrow.compute as pc

    wanted = np.zeros(len(pool), dtype=bool)
    wanted[[*rows]] = True
    response_chars = np.zeros(len(pool), dtype=np.int64)
    shown = {}
    finder = RepeatFinder(pool)
    for places, prompts, responses in _texts(store, pool):
        response_chars[places] = pc.fill_null(pc.utf8_length(responses), 0).to_numpy()
        finder.add(places, [prompts, responses])
        for at in np.flatnonzero(wanted[places]).tolist():
            both = prompts[at].as_py(), responses[at].as_py()
            shown[int(places[at])] = excerpt("prompt", both[0]), excerpt("response", both[1])
    repeats = finder.repeats() if len(pool) else None
    pairs = {row for pair in repeats.pairs for row in pair} if repeats else set()
    return TextFacts(response_chars, repeats, {**shown, **read_excerpts(pool, pairs - {*shown})})


def _texts(store: "Store", pool: PoolFacts) -> "Iterator[tuple[Rows, pa.Array, pa.Array]]":
    """Yield rows of the pool, their prompts and their responses, block by block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from curate.store.ids import id_bytes

    n_read = 0
    for shard in store.shards():
        with pq.ParquetFile(shard.path, memory_map=True) as file:
            for batch in file.iter_batches(READ_ROWS, columns=["id", "prompt", "response"]):
                places = pool.snapshot.places_in_order(id_bytes(batch["id"]), n_read)
                n_read += batch.num_rows
                inside: Mask = places >= 0  # an ingest may run at the same time
                texts = [batch["prompt"], batch["response"]]
                if not inside.all():
                    texts = [side.filter(pa.array(inside)) for side in texts]
                yield places[inside], *texts
