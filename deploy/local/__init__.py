"""A real Kafka and a real PostgreSQL on this machine, without Docker, a system Java or a system Postgres."""
