"""The answers as they are on the wire, field by field; the OpenAPI document is made of these types."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.query.periods import Compare, Interval, Weekday
from stream.model.activity import Activity

T = TypeVar("T")

Time = Annotated[str, Meta(description="RFC 3339 with an offset.", examples=["2026-11-17T00:00:00+08:00"])]
LocalDate = Annotated[str, Meta(description="A local date, YYYY-MM-DD.", examples=["2026-11-17"])]
Count = Annotated[int, Meta(ge=0)]
BucketState = Literal["final", "open", "settling", "future"]
FreshnessState = Literal["live", "catching_up", "stalled"]


class ComparisonAnswer(msgspec.Struct, frozen=True):
    """The earlier range that `previous` counts."""

    mode: Compare
    starts_at: Time
    ends_at: Time
    to_same_time: Annotated[
        bool,
        Meta(
            description="True where the range ends today: the earlier range then stops at the same local time of day."
        ),
    ]


class QueryAnswer(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The query as the API understood it. `sources` and `users` are null for all."""

    from_: LocalDate
    to: LocalDate
    timezone: str
    interval: Interval
    week_start: Weekday
    starts_at: Time
    ends_at: Time
    sources: list[str] | None
    users: list[str] | None
    compare: ComparisonAnswer | None


class Freshness(msgspec.Struct, frozen=True):
    """Freshness of the numbers: they include every event that Kafka had by `as_of`."""

    state: FreshnessState
    as_of: Time
    lag_seconds: Annotated[float, Meta(ge=0)]
    revision: Annotated[str, Meta(description="Opaque; the ETag of the answer.")]


class Warning(msgspec.Struct, frozen=True):  # noqa: A001 - the wire's name
    """A hint about a parameter, such as a filter value that the workspace never had."""

    code: Literal["unknown_source", "unknown_user", "before_retention"]
    parameter: str
    value: str
    message: str


class Total(msgspec.Struct, frozen=True):
    """A total and that of the earlier range. `change_percent` is null where the earlier total is 0 or nothing is
    compared.
    """

    count: Count
    previous: Count | None
    change_percent: float | None


def encoded(json: bytes, of: type[T]) -> T:  # noqa: ARG001
    """A part of an answer that is written already. It goes into the answer as it is; `decoded` has its fields."""
    part: Any = msgspec.Raw(json)
    found: T = part
    return found


ENCODED: Any = msgspec.Raw
"""As `encoded`, for a part of whatever type."""


def decoded(part: T, of: type[T]) -> T:
    """A part of an answer, written already or not."""
    return msgspec.json.decode(part, type=of) if isinstance(part, msgspec.Raw) else part


class EarlierBucket(msgspec.Struct, frozen=True):
    """The earlier bucket that a bucket is compared with. Those of a timeline add up to `previous` of the totals."""

    start: Time
    end: Time
    added: Count
    deleted: Count


class Bucket(msgspec.Struct, frozen=True):
    """One bucket. Counts are null in the future; `previous` is null where nothing is compared."""

    start: Time
    end: Time
    state: BucketState
    added: Count | None
    deleted: Count | None
    previous: EarlierBucket | None


class EarlierSourceBucket(msgspec.Struct, frozen=True):
    """`added` has every name of `names`, and those that only the earlier side has."""

    start: Time
    end: Time
    added: dict[str, Count]


class SourceBucket(msgspec.Struct, frozen=True):
    """`added` has every name of `names`; `previous` is null where nothing is compared."""

    start: Time
    end: Time
    state: BucketState
    added: dict[str, Count | None]
    previous: EarlierSourceBucket | None


class Sources(msgspec.Struct, frozen=True):
    """Added by source: the known five, others by name, `none`, and `*` for the sum of those past a hundred."""

    names: list[str]
    totals: dict[str, Count]
    timeline: list[SourceBucket]


class UserCounts(msgspec.Struct, frozen=True):
    """Counts of one user. `user_id` is null for events without a user."""

    user_id: str | None
    user_name: str | None
    added: Count
    deleted: Count


class OmittedUsers(msgspec.Struct, frozen=True):
    """The sum of the users that are not listed."""

    count: Count
    added: Count
    deleted: Count


class Report(msgspec.Struct, frozen=True):
    """The whole report."""

    query: QueryAnswer
    freshness: Freshness
    added: Total
    deleted: Total
    timeline: list[Bucket]
    sources: Sources
    users: list[UserCounts]
    users_omitted: OmittedUsers
    warnings: list[Warning]


class SummaryAnswer(msgspec.Struct, frozen=True):
    """The two totals."""

    query: QueryAnswer
    freshness: Freshness
    added: Total
    deleted: Total
    warnings: list[Warning]


class TimelineAnswer(msgspec.Struct, frozen=True):
    """Every bucket of the range, in order."""

    query: QueryAnswer
    freshness: Freshness
    timeline: list[Bucket]
    warnings: list[Warning]


class SourcesAnswer(msgspec.Struct, frozen=True):
    """Added by source."""

    query: QueryAnswer
    freshness: Freshness
    sources: Sources
    warnings: list[Warning]


class UsersAnswer(msgspec.Struct, frozen=True):
    """All users with activity in the range."""

    query: QueryAnswer
    freshness: Freshness
    users: list[UserCounts]
    warnings: list[Warning]


class ActivityRow(msgspec.Struct, frozen=True):
    """One contact added or deleted; or, with `batches=fold`, the rows of one import and activity as one.

    Such a row stands at its newest and has `rows`, `first` and `last`, and neither a contact nor an event; its source
    and user are null where its rows differ in them.
    """

    occurred_at: Time
    contact_id: str | None
    contact_name: str | None
    activity: Activity
    source: str | None
    user_id: str | None
    user_name: str | None
    event_id: str | None
    batch_id: str | None
    rows: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    first: Time | UnsetType = UNSET
    last: Time | UnsetType = UNSET


class ActivitiesAnswer(msgspec.Struct, frozen=True):
    """A page of the activity table. `total` is exact; null for the rows of one import."""

    query: QueryAnswer
    freshness: Freshness
    total: Count | None
    activities: list[ActivityRow]
    next_cursor: str | None
    truncated_before: Time | None
    warnings: list[Warning]


class SourceChoice(msgspec.Struct, frozen=True):
    """A source for the filter."""

    source: str
    label: str


class UserChoice(msgspec.Struct, frozen=True):
    """A user for the filter."""

    user_id: str
    user_name: str | None


class OmittedChoices(msgspec.Struct, frozen=True):
    """Number of users beyond `limit`."""

    count: Count


class FiltersAnswer(msgspec.Struct, frozen=True):
    """The sources and users that a workspace's reports can filter by."""

    sources: list[SourceChoice]
    users: list[UserChoice]
    users_omitted: OmittedChoices
    freshness: Freshness


class WorkspaceAnswer(msgspec.Struct, frozen=True):
    """A workspace that has events."""

    workspace_id: str


class WorkspacesAnswer(msgspec.Struct, frozen=True):
    """The workspaces that the caller may see, sorted."""

    workspaces: list[WorkspaceAnswer]
    next_cursor: str | None


class TimezonesAnswer(msgspec.Struct, frozen=True):
    """The time zones that `timezone` accepts."""

    timezones: list[str]
    aliases: Annotated[dict[str, str], Meta(description="Alias -> its zone. `timezone` accepts aliases too.")]
    version: str
