"""A model's life before it serves: data, training, calibration, evaluation, export. Needs reelsort[train]."""
