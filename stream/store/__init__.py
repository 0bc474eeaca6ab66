"""The system of record: the one Postgres transaction of a batch, and what is looked up before it."""
