"""The memory of a shard: what it answers, and what leaves it when."""

from consumer.pipeline.seen_ids import SeenIds, id_digest, variant_digest

A, B = b"a" * 16, b"b" * 16
ID = id_digest("id")
VARIANT = variant_digest(ID, B)


def numbered(number: int) -> bytes:
    """Return the digest of one of many ids."""
    return id_digest(f"id-{number}")


def test_without_a_window_nothing_expires() -> None:
    """With window 0 an id is known forever."""
    seen = SeenIds(0)
    seen.remember(ID, A, 0)
    assert seen.lookup(ID, 2**62) == A
    assert not seen.expired(2**62, 10)


def test_expiry_is_exact() -> None:
    """An id is known until one millisecond before its window has passed, and not after."""
    seen = SeenIds(1000)
    seen.remember(ID, A, 500)
    seen.remember_variant(VARIANT, ID, 500)
    assert seen.lookup(ID, 1499) == A
    assert seen.has_variant(VARIANT, 1499)
    assert not seen.expired(1499, 10)
    assert seen.lookup(ID, 1500) is None
    assert not seen.has_variant(VARIANT, 1500)
    expired = seen.expired(1500, 10)
    assert (list(expired.ids), list(expired.variants)) == ([ID], [VARIANT])


def test_an_id_is_known_to_records_older_than_itself() -> None:
    """A record with an earlier time than the id is within its window."""
    seen = SeenIds(1000)
    seen.remember(ID, A, 10_000)
    assert seen.lookup(ID, 0) == A


def test_expiry_is_bounded_oldest_first_and_changes_nothing() -> None:
    """Tombstones come oldest first, ids and variants merged, at most the limit."""
    seen = SeenIds(10)
    for number in range(5):
        seen.remember(numbered(number), A, number * 2)
        of_id = numbered(number)
        seen.remember_variant(variant_digest(of_id, B), of_id, number * 2 + 1)
    expired = seen.expired(100, 3)
    assert list(expired.ids) == [numbered(0), numbered(1)]
    assert list(expired.variants) == [variant_digest(numbered(0), B)]
    assert seen.expired(100, 3) == seen.expired(100, 3)
    assert not seen.expired(100, 0)
    assert len(seen) == 5


def test_an_id_published_again_lives_on_from_there() -> None:
    """A second publication after the window restarts the window, and blocks no other id."""
    seen = SeenIds(10)
    seen.remember(numbered(0), A, 0)
    seen.remember(numbered(1), A, 1)
    seen.remember(numbered(0), B, 20)
    assert seen.lookup(numbered(0), 29) == B
    assert list(seen.expired(29, 10).ids) == [numbered(1)]
    seen.forget(numbered(1))
    assert list(seen.expired(30, 10).ids) == [numbered(0)]


def test_many_ids_leave_in_their_order() -> None:
    """Thousands of ids, some published again, each expire once and in time order."""
    seen = SeenIds(10)
    for time_ms in range(5000):
        seen.remember(numbered(time_ms % 3000), A, time_ms)
    left: list[bytes] = []
    for watermark_ms in range(0, 6000, 500):
        expired = list(seen.expired(watermark_ms, 10_000).ids)
        for digest in expired:
            seen.forget(digest)
        left += expired
    assert left == [numbered(time_ms % 3000) for time_ms in range(2000, 5000)]
    assert len(seen) == 0


def test_forgetting_the_unknown_is_no_error() -> None:
    """Removing an unknown id has no effect, with and without a window."""
    for window_ms in (0, 10):
        seen = SeenIds(window_ms)
        seen.forget(ID)
        seen.forget_variant(VARIANT)
        seen.remember(ID, A, 0)
        seen.remember_variant(VARIANT, ID, 0)
        seen.forget(ID)
        seen.forget_variant(VARIANT)
        assert seen.lookup(ID, 0) is None
        assert not seen.has_variant(VARIANT, 0)
        assert len(seen) == 0
