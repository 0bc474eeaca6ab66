"""Faults on real processes: kill, pause, starve, then hold tables and topics against a ledger of what was published."""
