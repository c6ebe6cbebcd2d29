"""The users of a workspace by number, so that sums of days and of ranges are columns of numbers.

A number takes 4 bytes and its count 8, where a user's own entry in a dictionary takes 200. One table serves all days
and ranges of a workspace in this process, and it only grows: what was numbered keeps its number.
"""

from collections.abc import Sequence
from heapq import merge
from itertools import count, islice
from sys import getsizeof

import numpy as np
import numpy.typing as npt

from stream.model.steps import Steps

Places = npt.NDArray[np.int32]
"""Numbers of users."""

USERS_A_PIECE = 5_000
"""Some milliseconds, where none has a number yet."""

NUMBER_BYTES = 36
"""A number as an object, in the table, and the user's rank."""


class UserTable:
    """None is the user of events without one."""

    def __init__(self) -> None:
        # Only texts and numbers are in it: such a dictionary the garbage collector does not look into.
        self._places: dict[str | None, int] = {}
        self._text_bytes = 0
        self._ranks: Places = np.zeros(0, np.int32)

    def __len__(self) -> int:
        return len(self._places)

    def places_of(self, users: Sequence[str | None]) -> Steps[Places]:
        """Their numbers; those who have none get the next ones."""
        places = np.empty(len(users), np.int32)
        for start in range(0, len(users), USERS_A_PIECE):
            if start:
                yield
            some = users[start : start + USERS_A_PIECE]
            self._number(some)
            places[start : start + len(some)] = np.fromiter(map(self._places.__getitem__, some), np.int32, len(some))
        return places

    def _number(self, users: Sequence[str | None]) -> None:
        new = [user for user in dict.fromkeys(users) if user not in self._places]
        self._places.update(zip(new, count(len(self))))
        self._text_bytes += sum(map(getsizeof, new))

    def place_of(self, user: str | None) -> int | None:
        """None: nobody has counted this user yet."""
        return self._places.get(user)

    def users(self) -> list[str | None]:
        """By number."""
        return list(self._places)

    def ranks(self) -> Steps[Places]:
        """By number: where a user comes among all, by id; None before all others. Kept until there are more users."""
        if len(self._ranks) < len(self):
            users = self.users()
            runs = []
            for start in range(0, len(users), USERS_A_PIECE):
                runs.append(sorted(user for user in users[start : start + USERS_A_PIECE] if user is not None))
                yield
            ranks = np.zeros(len(users), np.int32)
            in_order, done = merge(*runs), 1
            while piece := list(islice(in_order, USERS_A_PIECE)):
                places = np.fromiter(map(self._places.__getitem__, piece), np.int32, len(piece))
                ranks[places] = np.arange(done, done + len(piece), dtype=np.int32)
                done += len(piece)
                yield
            self._ranks = max(self._ranks, ranks, key=len)
        return self._ranks

    @property
    def size_bytes(self) -> int:
        return getsizeof(self._places) + NUMBER_BYTES * len(self) + self._text_bytes
