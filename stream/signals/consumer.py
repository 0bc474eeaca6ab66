"""The consumer of the actions. Wherever Faust goes back to committed offsets, it goes back to the beginning of what has
none: to aiokafka that is no place to go to, and what Faust read beside the changelog and threw away would stay unread.
"""

from __future__ import annotations

from collections.abc import Mapping

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


class ActionsTransport(aiokafka.Transport):
    Consumer = ActionsConsumer
