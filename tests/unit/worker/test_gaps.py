"""A batch that does not come is asked for again."""

from stream.worker.gaps import MISSED_ENDS, Gaps


def test_a_batch_is_asked_for_again_after_some_answers_without_it() -> None:
    # Given a partition that ends at 20 and waits for the batch at 10
    gaps = Gaps()
    # When it is told again and again that there is more
    told = [gaps.note_end(10, 20) for _ in range(2 * MISSED_ENDS + 1)]
    # Then it asks for the batch each time that it has heard so often enough
    assert [place for place, missed in enumerate(told) if missed == 10] == [MISSED_ENDS, 2 * MISSED_ENDS]
    assert set(told) == {None, 10}


def test_who_gets_on_or_waits_for_nothing_asks_for_nothing() -> None:
    gaps = Gaps()
    for needed in range(3 * MISSED_ENDS):
        assert gaps.note_end(needed, 100) is None
    for _ in range(3 * MISSED_ENDS):
        assert gaps.note_end(100, 100) is None
        assert gaps.note_end(None, 200) is None


def test_a_batch_that_came_begins_the_count_again() -> None:
    gaps = Gaps()
    for _ in range(MISSED_ENDS):
        gaps.note_end(10, 20)
    assert gaps.note_end(15, 20) is None
    for _ in range(MISSED_ENDS - 1):
        assert gaps.note_end(15, 20) is None
    assert gaps.note_end(15, 20) == 15
