"""The parts that architectures are made of, each with one home. Masks are True where something is."""
