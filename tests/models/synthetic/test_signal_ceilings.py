"""Signals tell what the topic leaves open: less than everything, and enough to be worth weighing."""

from models.synthetic.design import Noise
from models.synthetic.make import manifest_row
from models.synthetic.sampling import draw_item
from models.synthetic.signal_ceilings import signal_ceilings
from models.synthetic.signals import draw_signals
from schemas.manifest import Split


def test_signals_alone_tell_most_of_what_the_topic_leaves_open() -> None:
    counts: dict[Split, int] = {"train": 1500, "test": 400}
    rows = [manifest_row(draw_item(7, split, i, Noise())) for split, count in counts.items() for i in range(count)]
    told = signal_ceilings([(row, draw_signals(7, row)) for row in rows])
    assert 0.8 <= told["level 1, author's past and main vertical"] < 0.97
    assert told["level 1, audience, 100 plays or more"] > 0.9
    assert 0.85 <= told["class, audience and comments, 100 plays or more"] < 0.99
    assert told["class, audience and comments"] < told["class, audience and comments, 100 plays or more"]
