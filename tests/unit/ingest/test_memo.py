import pytest

from stream.ingest.memo import Memo


def test_an_answer_is_worked_out_once() -> None:
    asked: list[str] = []

    def length(question: str) -> int:
        asked.append(question)
        return len(question)

    memo = Memo(length, limit=10)
    assert [memo["a"], memo["bb"], memo["a"], memo["bb"]] == [1, 2, 1, 2]
    assert asked == ["a", "bb"]


def test_it_never_holds_more_than_its_limit() -> None:
    memo = Memo(len, limit=3)
    for number in range(10):
        assert memo["x" * number] == number
        assert len(memo) <= 3


def test_what_is_not_worth_holding_is_answered_all_the_same() -> None:
    memo = Memo(len, limit=3, worth_holding=lambda answer: answer < 2)
    assert [memo["aaa"], memo["a"]] == [3, 1]
    assert list(memo) == ["a"]


def test_what_has_no_answer_raises_each_time_and_holds_nothing() -> None:
    memo = Memo(int, limit=3)
    for _ in range(2):
        with pytest.raises(ValueError, match="none"):
            memo["none"]
    assert len(memo) == 0
