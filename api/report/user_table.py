"""The users of a workspace, each as one text, however many days have it."""

from sys import getsizeof

USER_BYTES = 110
"""Of a user in the table, without the text."""


class UserTable:
    """None is the user of events without one. It only grows: one table serves all days and ranges of a workspace in
    this process."""

    def __init__(self) -> None:
        self._users: dict[str | None, str | None] = {}
        self._text_bytes = 0

    def __len__(self) -> int:
        return len(self._users)

    def find_or_add(self, user: str | None) -> str | None:
        """The text that stands for a user; an equal one."""
        if user not in self._users:
            self._users[user] = user
            self._text_bytes += getsizeof(user)
        return self._users[user]

    @property
    def size_bytes(self) -> int:
        return USER_BYTES * len(self) + self._text_bytes
