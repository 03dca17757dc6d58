import numpy as np
import torch

from curate.models.passes.projection import BLOCK, project, signs


def test_signs_are_of_their_key_alone():
    whole = signs(BLOCK, 20, (0, 1, 2))
    assert set(whole.unique().tolist()) == {-1, 1}
    assert torch.equal(signs(10, 20, (0, 1, 2)), whole[:10])
    assert not torch.equal(signs(BLOCK, 20, (0, 2, 1)), whole)
    assert not torch.equal(signs(BLOCK, 20, (1, 1, 2)), whole)


def test_signs_are_the_bits_of_numpys_generator():
    """Stored gradients were made with them, and later ones must be comparable."""
    drawn = np.frombuffer(np.random.default_rng((4, 1, 2)).bytes(BLOCK * 3), dtype=np.uint8)
    bits = np.unpackbits(drawn.reshape(BLOCK, 3), axis=1, count=21).astype(int)
    assert np.array_equal(signs(BLOCK, 21, (4, 1, 2)).numpy(), bits * 2 - 1)


def test_a_row_is_projected_alike_in_any_batch():
    rows = torch.randn(5, 2 * BLOCK + 7, generator=torch.Generator().manual_seed(0)).double()
    whole = project(rows, 16, seed=0, number=3)
    one = torch.cat([project(row[None], 16, seed=0, number=3) for row in rows])
    torch.testing.assert_close(whole, one)
    by_hand = sum(
        rows[:, at * BLOCK : (at + 1) * BLOCK]
        @ signs(len(rows[0, at * BLOCK : (at + 1) * BLOCK]), 16, (0, 3, at)).double()
        for at in range(3)
    )
    torch.testing.assert_close(whole, by_hand / 4)


def test_inner_products_are_preserved_within_the_expected_deviation():
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(1, 4_000, generator=generator) for _ in range(2))
    a, b = a / a.norm(), b / b.norm()
    errors = []
    for seed in range(40):
        p, q = (project(x, 512, seed=seed, number=0) for x in (a, b))
        errors.append(float((p * q).sum() - (a * b).sum()))
    deviation = 1 / 512**0.5
    assert abs(np.mean(errors)) < 3 * deviation / 40**0.5
    assert 0.7 * deviation < np.std(errors) < 1.3 * deviation
