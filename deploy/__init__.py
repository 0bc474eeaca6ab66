"""How reelsort is run: the local stack, and what operators deploy."""
