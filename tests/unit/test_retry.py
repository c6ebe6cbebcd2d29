"""The one back-off."""

from stream.retry import BackOff


def test_each_wait_is_twice_as_long_as_the_one_before_up_to_the_limit() -> None:
    # Given a back-off from half a second to five
    back_off = BackOff(0.5, 5.0)
    # When something fails six times in a row
    waits = [back_off.take() for _ in range(6)]
    # Then it waits twice as long each time, and never longer than the limit
    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_after_a_success_it_begins_again() -> None:
    # Given two failures in a row
    back_off = BackOff(0.2, 10.0)
    back_off.take()
    back_off.take()
    # When it succeeds, and fails again
    back_off.reset()
    # Then the wait is the first one again
    assert back_off.take() == 0.2


def test_the_next_wait_can_be_told_before_it_is_taken() -> None:
    # Given one failure
    back_off = BackOff(1.0, 15.0)
    back_off.take()
    # When the log says how long the next wait is
    told = back_off.seconds
    # Then that is how long it is
    assert told == back_off.take() == 2.0
