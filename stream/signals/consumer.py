"""The consumer of the actions and of the table's changelog: it goes back wherever Faust throws away what it has read.

Faust itself goes back to committed offsets alone, and to aiokafka what has none is no place to go to. Of actions none
may be committed yet: what was read beside the changelog would stay unread. Of a changelog none ever is: what a fetch
brings after a recovery has gone back to its beginning, and before Faust takes any, would be waited for in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from aiokafka.errors import IllegalStateError
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka
from faust.types import TP


class ActionsConsumer(aiokafka.Consumer):
    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Of all partitions; of those of actions, the offset that is read next."""
        committed = await super().seek_to_committed()
        actions = [tp for tp in committed if not self._is_changelog_tp(tp)]
        first = await self.earliest_offsets(*actions)
        begin = {tp: max(committed[tp] or 0, first[tp]) for tp in actions}
        await self.seek_wait({tp: offset for tp, offset in begin.items() if offset != committed[tp]})
        return {**committed, **begin}

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Any]]:
        records = await super()._getmany(active_partitions, timeout)
        if not self.flow_active and (changes := [tp for tp in records if self._is_changelog_tp(tp)]):
            applied = cast(TableManager, self.app.tables).recovery.active_offsets
            with suppress(IllegalStateError):  # no longer ours: the next recovery goes back
                # one that is read again changes nothing
                await self.seek_wait({tp: max(0, applied[tp] or 0) for tp in changes})
        return records


class ActionsTransport(aiokafka.Transport):
    Consumer = ActionsConsumer
