"""`python -m deploy.local.lock VERSION` pins a Kafka: resolves its jars and writes their sha256 to kafka.lock.toml.

For maintainers. What it fetches is trusted at that moment and held to ever after: read the difference before a commit.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

import jgo
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import Artifact, MavenContext

from deploy.local.jars import LOCK_FILE

HEADER = (
    "# The local Kafka's jars, each pinned by its sha256. `python -m deploy.local.lock VERSION` writes this file.\n"
)


def pin(kafka: str) -> str:
    """The lock file's text for a version of Kafka."""
    jars = {_coordinate(artifact): artifact for artifact in jgo.resolve(f"org.apache.kafka:kafka_2.13:{kafka}")}
    log4j = next(artifact.version for artifact in jars.values() if artifact.artifactId == "log4j-core")
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), local_repos=[], remote_repos={"central": MAVEN_CENTRAL_URL})
        # Kafka brings SLF4J 1.7 and Log4j, but nothing that binds the one to the other
        binding = context.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(log4j).artifact()
        jars[_coordinate(binding)] = binding
        lines = [f'"{name}" = "{_sha256(context, artifact)}"\n' for name, artifact in sorted(jars.items())]
    return f'{HEADER}kafka = "{kafka}"\n\n[jars]\n{"".join(lines)}'


def _coordinate(artifact: Artifact) -> str:
    return f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"


def _sha256(context: MavenContext, artifact: Artifact) -> str:
    fetched = context.project(artifact.groupId, artifact.artifactId).at_version(artifact.version).artifact().resolve()
    return hashlib.sha256(Path(fetched).read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("version", help="of Apache Kafka, such as 4.2.0")
    LOCK_FILE.write_text(pin(parser.parse_args().version), encoding="utf-8")
