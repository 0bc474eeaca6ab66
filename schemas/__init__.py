"""The contracts: events, topics, tables, taxonomy. Imports nothing of the other packages."""
