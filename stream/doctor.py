"""What is here and what would be used: every check answers with ok, warn or fail, and says how to mend it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

from schemas.errors import UserError
from stream.settings import Settings, load_settings

GIB = 1024**3
WANTED_MEMORY = 2 * GIB
WANTED_DISK = 2 * GIB
# FFmpeg's own `av1` decoder needs a GPU: on a CPU one of these two does the work
DECODERS = {"h264": ("h264",), "hevc": ("hevc",), "vp9": ("vp9",), "av1": ("libdav1d", "libaom-av1")}
_ANSWER_WITHIN_S = 5.0
_CPU_FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX BF16"}


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"  # something could be better; everything needed works
    FAIL = "fail"  # something needed does not work


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `remedy` is empty where there is nothing to mend."""

    name: str
    status: Status
    found: str
    remedy: str = ""


def examine(kafka_jars: Callable[[], str | None]) -> Iterator[Check]:
    """Every check, in the order a newcomer would mend things.

    kafka_jars() says what is wanting for the local Kafka, None if nothing is: the local stack is not ours to import.
    """
    yield _python()
    yield _processor()
    yield _memory()
    yield _disk()
    yield _codecs()
    yield _gpu()
    yield _tensorrt()
    yield _local_kafka(kafka_jars)
    try:
        settings = load_settings()
    except UserError as error:
        yield _failed("settings", error)
        return
    source = os.environ.get("REELSORT_CONFIG")
    yield Check("settings", Status.OK, source or "environment and defaults (REELSORT_CONFIG is not set)")
    yield from _kafka(settings)
    yield from _postgres(settings)
    yield from _model(settings)


def _python() -> Check:
    return Check("python", Status.OK, f"{sys.version.split()[0]} at {sys.executable}")


def _processor() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    present = _cpu_flags()
    names = [name for flag, name in _CPU_FLAGS.items() if flag in present]
    return Check("processor", Status.OK, f"{cores} cores, {', '.join(names) or 'no AVX2, AVX-512 or AMX seen'}")


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith("flags")), set())


def _memory() -> Check:
    memory = psutil.virtual_memory()
    found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    if memory.available < WANTED_MEMORY:
        return Check("memory", Status.WARN, found, "serving and a local stack want 2 GiB: stop something else")
    return Check("memory", Status.OK, found)


def _disk() -> Check:
    free = shutil.disk_usage(Path.home()).free
    found = f"{free / GIB:.1f} GiB free in {Path.home()}"
    if free < WANTED_DISK:
        return Check("disk", Status.WARN, found, "a local stack with videos wants 2 GiB: free some space")
    return Check("disk", Status.OK, found)


def _codecs() -> Check:
    try:
        import av
    except ImportError as error:
        return Check("video codecs", Status.FAIL, f"PyAV does not load: {error}", "install reelsort again")
    missing = [codec for codec, names in DECODERS.items() if not any(_decodes(name) for name in names)]
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    if missing:
        return Check(
            "video codecs",
            Status.FAIL,
            f"PyAV {av.__version__} cannot decode {', '.join(missing)}",
            "use PyAV's own wheels, which bring FFmpeg with every codec: pip install --force-reinstall av",
        )
    return Check("video codecs", Status.OK, f"{', '.join(DECODERS)} (PyAV {av.__version__}, libavcodec {libavcodec})")


def _decodes(name: str) -> bool:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        return bool(Codec(name, "r").is_decoder)
    except UnknownCodecError:
        return False


def _gpu() -> Check:
    """Asked in a process of its own: a driver that hangs or crashes must not take the doctor with it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", Status.OK, "no NVIDIA GPU or driver here: videos are decoded and classified on the CPU")
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Check("GPU", Status.WARN, f"nvidia-smi does not answer: {error}", "check the NVIDIA driver")
    decoder = "NVDEC" if find_library("nvcuvid") else "no NVDEC (libnvcuvid is missing)"
    return Check("GPU", Status.OK, f"{'; '.join(answer.stdout.splitlines())}; {decoder}")


def _tensorrt() -> Check:
    if find_spec("tensorrt") is None:
        return Check("TensorRT", Status.OK, "not installed: only reelsort[gpu] brings it")
    return Check("TensorRT", Status.OK, _version_of("tensorrt-cu13", "tensorrt"))


def _version_of(*distributions: str) -> str:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "installed, of unknown version"


def _local_kafka(wanting: Callable[[], str | None]) -> Check:
    if reason := wanting():
        return Check("local stack", Status.WARN, reason, "`reelsort up` fetches what is missing, once")
    return Check("local stack", Status.OK, "Java runtime, Kafka's jars and PostgreSQL are here (`reelsort up`)")


def _kafka(settings: Settings) -> Iterator[Check]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from stream.kafka import admin_config, topic_names

    bootstrap = settings.kafka.bootstrap
    try:
        admin = AdminClient(admin_config(settings) | {"log_level": 0})
        cluster = admin.list_topics(timeout=_ANSWER_WITHIN_S)
        names = topic_names(settings)
    except UserError as error:
        yield _failed("Kafka", error)
        return
    except KafkaException as error:
        yield Check(
            "Kafka",
            Status.FAIL,
            f"no broker answers at {bootstrap} ({error.args[0].name()})",
            "start one with `reelsort up` and export REELSORT_CONFIG, or set REELSORT_KAFKA__BOOTSTRAP",
        )
        return
    yield Check("Kafka", Status.OK, f"{bootstrap}, {_count(len(cluster.brokers), 'broker')}")
    wanted = [names.actual(standard) for standard in _standard_topics()]
    missing = [name for name in wanted if name not in cluster.topics]
    if missing:
        yield Check("topics", Status.FAIL, f"{len(missing)} missing: {', '.join(missing)}", "reelsort topics create")
    else:
        yield Check("topics", Status.OK, f"all {len(wanted)} are there")


def _standard_topics() -> tuple[str, ...]:
    from schemas.topics import TOPICS

    return tuple(TOPICS)


def _postgres(settings: Settings) -> Iterator[Check]:
    import psycopg

    from schemas.database import current, head

    dsn = settings.database.dsn.get_secret_value()
    try:
        with psycopg.connect(dsn, connect_timeout=int(_ANSWER_WITHIN_S)) as connection:
            at = connection.info
            yield Check(
                "Postgres",
                Status.OK,
                f"{at.dbname} at {at.host}:{at.port}, version {at.server_version // 10_000}.{at.server_version % 100}",
            )
    except psycopg.ProgrammingError:  # its text quotes the DSN, which may hold a password
        yield Check(
            "Postgres",
            Status.FAIL,
            "the database DSN cannot be read",
            "write REELSORT_DATABASE__DSN as postgresql://USER@HOST:PORT/DATABASE",
        )
        return
    except psycopg.Error as error:
        yield Check(
            "Postgres",
            Status.FAIL,
            str(error).strip().splitlines()[0],
            "start one with `reelsort up` and export REELSORT_CONFIG, or set REELSORT_DATABASE__DSN",
        )
        return
    try:
        revision, newest = current(dsn), head()
    except UserError as error:
        yield _failed("migrations", error)
        return
    if revision == newest:
        yield Check("migrations", Status.OK, f"at {revision}, the newest")
    else:
        found = f"at {revision}, not {newest}" if revision else "the database is empty"
        yield Check("migrations", Status.FAIL, found, "reelsort db upgrade")


def _model(settings: Settings) -> Iterator[Check]:
    from models.bundle import Bundle, default_bundle
    from models.runtimes.select import choose_runtime

    folder = settings.inference.bundle or default_bundle()
    try:
        bundle = Bundle.load(folder)
    except UserError as error:
        yield _failed("bundle", error)
        return
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    found = f"{bundle.manifest.name} ({bundle.model_id}, {size / 1024**2:.1f} MiB) in {folder}"
    yield Check("bundle", Status.OK, found)
    try:
        chosen = choose_runtime(bundle, settings.inference)
    except UserError as error:
        yield _failed("runtime", error)
        return
    chosen.runtime.close()
    best = chosen.report.chosen
    speed = f", {best.videos_per_s:.0f} videos/s" if best.videos_per_s else ""
    yield Check(
        "runtime",
        Status.OK,
        f"{best.runtime} {best.precision}, vision batches of {best.vision_batch} frames, "
        f"{_count(chosen.threads, 'thread')}{speed} ({chosen.report.how}); the golden probes hold",
    )


def _failed(name: str, error: UserError) -> Check:
    return Check(name, Status.FAIL, error.message, error.remedy)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
