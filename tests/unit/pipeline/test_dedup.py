"""The memory of a shard: what it answers, and what leaves it when."""

from consumer.pipeline.dedup import SeenIds

A, B = b"a" * 16, b"b" * 16


def test_without_a_window_nothing_expires() -> None:
    """With window 0 an id is known for ever."""
    seen = SeenIds(0)
    seen.remember("id", A, 0)
    assert seen.lookup("id", 2**62) == A
    assert seen.expired(2**62, 10) == []


def test_expiry_is_exact() -> None:
    """An id is known until one millisecond before its window has passed, and not after."""
    seen = SeenIds(1000)
    seen.remember("id", A, 500)
    seen.remember_variant("id", B, 500)
    assert seen.lookup("id", 1499) == A
    assert seen.has_variant("id", B, 1499)
    assert seen.expired(1499, 10) == []
    assert seen.lookup("id", 1500) is None
    assert not seen.has_variant("id", B, 1500)
    assert seen.expired(1500, 10) == ["id", ("id", B)]


def test_expiry_is_bounded_oldest_first_and_changes_nothing() -> None:
    """Tombstones come oldest first, ids and variants together, no more than asked for."""
    seen = SeenIds(10)
    for number in range(5):
        seen.remember(f"id-{number}", A, number * 2)
        seen.remember_variant(f"id-{number}", B, number * 2 + 1)
    assert seen.expired(100, 3) == ["id-0", ("id-0", B), "id-1"]
    assert seen.expired(100, 3) == seen.expired(100, 3)
    assert seen.expired(100, 0) == []
    assert len(seen) == 5


def test_an_id_published_again_lives_on_from_there() -> None:
    """A second publication after the window starts the window anew."""
    seen = SeenIds(10)
    seen.remember("again", A, 0)
    seen.remember("other", A, 1)
    seen.remember("again", B, 20)
    assert seen.lookup("again", 29) == B
    assert seen.expired(29, 10) == ["other"]
    seen.forget("other")
    assert seen.expired(30, 10) == ["again"]


def test_forgetting_the_unknown_is_no_error() -> None:
    """Tombstones of what was never there are harmless, with and without a window."""
    for window_ms in (0, 10):
        seen = SeenIds(window_ms)
        seen.forget("id")
        seen.forget_variant("id", A)
        seen.remember("id", A, 0)
        seen.remember_variant("id", B, 0)
        seen.forget("id")
        seen.forget_variant("id", B)
        assert seen.lookup("id", 0) is None
        assert not seen.has_variant("id", B, 0)
        assert len(seen) == 0
