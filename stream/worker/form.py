"""Chooses the form of the counting: the compiled core where it is installed, or the one in Python."""

from __future__ import annotations

from functools import partial

import msgspec

from stream.core import CoreChoice, CoreMissingError, choose_core
from stream.kafka.transaction import PACKED_BYTES
from stream.ports import WorkerMustStop
from stream.projection import calls
from stream.storage.keys import Keys
from stream.tables.compiled import CompiledState, Packing, new_table
from stream.tables.partition import PartitionState
from stream.tables.state import NewTable, Unpack


class Form(msgspec.Struct, frozen=True):
    compiled: bool
    unpack: Unpack
    """How the state of a partition is made of its changelog."""
    new_table: NewTable | None
    """For what is read of the changelog; None: that is a dict."""
    why: str
    """In words, for the log and `contacts-report config`."""

    @property
    def name(self) -> str:
        return "compiled" if self.compiled else "python"


def choose_form(choice: CoreChoice, keys: Keys) -> Form:
    """`keys`: of the deployment's Redis. Raises WorkerMustStop where the compiled core is asked for and not there."""
    try:
        core, why = choose_core(choice, "counting takes some 7 times the CPU without it")
    except CoreMissingError as error:
        raise WorkerMustStop(str(error)) from error
    if core is None:
        return Form(False, PartitionState.unpack, None, why)
    packing = Packing(keys.prefix, PACKED_BYTES, calls.CALL_BYTES, calls.OPERATION_LIMIT)
    return Form(True, partial(CompiledState.unpack, packing=packing), new_table, why)
