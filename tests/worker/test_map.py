"""The layout of a map: alike lies by alike, and the same vectors give the same map."""

import numpy as np

from worker.map import clusters, layout


def test_two_clouds_of_vectors_lie_apart_and_the_map_is_the_same_again() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(16, dtype=np.float32)[:2]
    vectors = np.concatenate([c + 0.05 * rng.normal(size=(40, 16)).astype(np.float32) for c in centres])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    placed = layout(vectors)
    assert placed.shape == (80, 2) and np.abs(placed).max() <= 1.0 + 1e-6
    within = np.linalg.norm(placed[:40] - placed[:40].mean(axis=0), axis=1).mean()
    apart = np.linalg.norm(placed[:40].mean(axis=0) - placed[40:].mean(axis=0))
    assert apart > 2 * within
    assert np.array_equal(layout(vectors), placed)
    found = clusters(vectors)
    assert not set(found[:40]) & set(found[40:])
