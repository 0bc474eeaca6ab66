"""From a decoded clip and its words to the arrays a model takes. Used alike by training and by serving; no torch."""
