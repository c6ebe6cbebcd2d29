"""Remembers results of a function, so that they are not computed again."""

from collections.abc import Callable
from typing import TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Memo(dict[Question, Answer]):
    """Answers by their questions: `memo[question]` works out what it does not hold, and holds at most `limit` of them.

    Full, it is emptied and fills again: so its size is bounded whatever publishers send, and a hit costs a dict's
    look-up and nothing else, half of functools.lru_cache's. What working out raises, `memo[question]` raises.
    """

    __slots__ = ("_limit", "_work_out", "_worth_holding")

    def __init__(
        self,
        work_out: Callable[[Question], Answer],
        *,
        limit: int,
        worth_holding: Callable[[Answer], bool] = lambda _: True,
    ) -> None:
        super().__init__()
        self._work_out = work_out
        self._limit = limit
        self._worth_holding = worth_holding

    def __missing__(self, question: Question) -> Answer:
        answer = self._work_out(question)
        if self._worth_holding(answer):
            if len(self) >= self._limit:
                self.clear()
            self[question] = answer
        return answer
