"""When a commit that fails again and again at one offset is tried with more care, and when a person is called."""

from stream.ports import CommitFailed, TooLarge
from stream.worker.attempts import STUCK_AFTER, Attempts

FAILED = CommitFailed("no answer")


def test_five_failures_at_one_offset_are_stuck_and_three_ask_for_care() -> None:
    attempts, told = Attempts(), []
    for _ in range(5):
        attempts.note_failure(10, FAILED)
        # The position alone is committed after each recovery, and does not move.
        attempts.note_position(10)
        told.append((attempts.careful, attempts.failures >= STUCK_AFTER))
    assert told == [(False, False), (False, False), (True, False), (True, False), (True, True)]
    attempts.note_position(11)
    assert (attempts.failures, attempts.careful) == (0, False)


def test_failures_at_ever_other_offsets_are_not_stuck() -> None:
    attempts = Attempts()
    for offset in range(10, 20):
        attempts.note_failure(offset, FAILED)
    assert attempts.failures == 1


def test_failures_while_nothing_waits_are_forgotten() -> None:
    attempts = Attempts()
    for _ in range(10):
        attempts.note_failure(10, FAILED)
        attempts.forget()
    assert attempts.failures < STUCK_AFTER


def test_refused_letters_are_known_until_their_offset_is_passed() -> None:
    attempts = Attempts()
    for letters in ({12, 14}, {14}):
        attempts.note_failure(10, TooLarge("too large", frozenset(letters)))
    assert [attempts.refusals(offset) for offset in (10, 12, 14)] == [0, 1, 2]
    attempts.note_position(13)
    assert [attempts.refusals(offset) for offset in (12, 14)] == [0, 2]
    attempts.note_position(15)
    assert attempts.refusals(14) == 0
