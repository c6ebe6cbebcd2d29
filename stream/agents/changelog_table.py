"""The Faust table `state` over everything that the worker knows: one compacted changelog, keys by kind (see the modules
beside this one).

Faust keeps the table's topic and co-partitions it with the source. Its own recovery is switched off: it hangs on a
changelog that ends in a transaction's
marker, and with an open transaction beside it it ends with wrong values. The store's partitions recover themselves,
each in a task begun at the assignment,
since heartbeats go on only after the callback of the assignment.
"""

from __future__ import annotations

from typing import Any, Protocol

import faust
from faust.stores import base
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.types.tuples import TP


class Owners(Protocol):
    """Who is told which partitions of the source are this worker's."""

    topic: str

    async def own(self, partitions: set[int]) -> None: ...


class StateStore(base.Store):
    """No keys of its own: a partition's state is one object, and Faust never looks inside."""

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        owners: Owners = self.app.partitions
        await owners.own({tp.partition for tp in assigned if tp.topic == owners.topic})

    def persisted_offset(self, tp: TP) -> int | None:
        return None

    def set_persisted_offset(self, tp: TP, offset: int) -> None: ...

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        raise AssertionError("Faust's own recovery is off")

    def reset_state(self) -> None: ...

    async def backup_partition(self, *args: Any, **kwargs: Any) -> None: ...

    def restore_backup(self, *args: Any, **kwargs: Any) -> None: ...


class StateTable(Table):
    def _new_store(self) -> StateStore:
        return StateStore("memory://", self.app, self, table_name=self.name)


class NoRecovery(Recovery):
    """Faust's rebalance, without its recovery."""

    def need_recovery(self) -> bool:
        return False

    async def _build_highwaters(self, *args: Any, **kwargs: Any) -> None: ...

    async def _build_offsets(self, *args: Any, **kwargs: Any) -> None: ...

    async def _seek_offsets(self, *args: Any, **kwargs: Any) -> None: ...


class StateTableManager(TableManager):
    _recovery: Recovery | None

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = NoRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


def state_table(app: faust.App, partitions: int) -> StateTable:
    """The one table. Its changelog is `<group>-state-changelog`, made by `contacts-report topics`, never by Faust."""
    table = StateTable(app, name="state", partitions=partitions, key_type=bytes, value_type=bytes)
    app.tables.add(table)
    return table
