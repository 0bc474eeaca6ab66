"""`reelsort demo`: the whole job on one machine, and the proof that nothing was lost or doubled."""
