from __future__ import annotations

from roost.runtime.entropy import Entropy
from roost.sim.entropy import SimEntropy


def _draws(seed: int, domain: str) -> tuple[bytes, int, float]:
    entropy: Entropy = SimEntropy(seed, domain)
    return entropy.token(8), entropy.number(53), entropy.uniform(2.0, 3.0)


def test_the_seed_and_the_domain_decide_every_draw() -> None:
    assert _draws(1, "a") == _draws(1, "a")
    assert len({_draws(1, "a"), _draws(2, "a"), _draws(1, "b")}) == 3


def test_draws_keep_within_their_bounds() -> None:
    entropy = SimEntropy(3, "a")
    for _ in range(200):
        assert len(entropy.token(5)) == 5
        assert 0 <= entropy.number(3) < 8
        assert 2.0 <= entropy.uniform(2.0, 3.0) <= 3.0
