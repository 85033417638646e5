"""A Flink cluster on this machine, for tests: one JobManager, two TaskManagers, loopback only.

    python -m tests.flink.cluster up | down | status | kill-taskmanager [--work .flink]

Maven fetches Flink and builds the job jar (`cluster.xml`, `pom.xml`) into the work folder, once.
The JVMs are started without Flink's own scripts, which start several more to read one file: so
the sizes that those work out from a process's size are given here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
import psutil

HERE = Path(__file__).parent
WORK = HERE.parent.parent / ".flink"
TASKMANAGERS = ("taskmanager-1", "taskmanager-2")
UP_S = 180.0
# Below those that Linux gives to whoever asks for any: nobody takes one before the JVM does.
PORTS = range(20_000, 30_000)
_JOBMANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASKMANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
# What Flink reaches into on Java 17; from the configuration file that it comes with.
_JAVAC = [f"com.sun.tools.javac.{part}" for part in ("api", "file", "parser", "tree", "util")]
_EXPORTED = [
    "java.base/sun.net.util",
    "java.rmi/sun.rmi.registry",
    "java.security.jgss/sun.security.krb5",
    *(f"jdk.compiler/{package}" for package in _JAVAC),
]
_OPENED = [
    *("lang", "lang.reflect", "net", "io", "nio", "text", "time", "util"),
    *("util.concurrent", "util.concurrent.atomic", "util.concurrent.locks"),
]
_CONFIG = {
    "jobmanager.rpc.address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "jobmanager.execution.failover-strategy": "region",
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "taskmanager.host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "taskmanager.numberOfTaskSlots": "1",
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.heap.size": "512m",
    "taskmanager.memory.task.off-heap.size": "0m",
    # With less, a batch job of Beam's fails for want of network buffers.
    "taskmanager.memory.network.min": "512m",
    "taskmanager.memory.network.max": "512m",
    "taskmanager.memory.managed.size": "256m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "256m",
    "taskmanager.memory.jvm-overhead.max": "256m",
    # Attempts times delay outlast a TaskManager that is killed and started again.
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "10",
    "restart-strategy.fixed-delay.delay": "2 s",
    "heartbeat.interval": "2000",
    "heartbeat.timeout": "10000",
}
_HEAP = {_JOBMANAGER: ["-Xmx512m"], _TASKMANAGER: ["-Xmx640m", "-XX:MaxDirectMemorySize=640m"]}
_LOG = """rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
appender.file.name = file
appender.file.type = File
appender.file.fileName = ${sys:log.file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c - %m%n
"""


def built(work: Path = WORK) -> Path:
    """The job jar; beside it Flink in `lib`. Built once by the files that say how."""
    work.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(work / "lock"):
        for pom in (HERE / "pom.xml", HERE / "cluster.xml"):
            done = work / f"{pom.stem}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
            if not done.exists():
                words = ["mvn", "-q", "-B", "-Dstyle.color=never", "-f", str(pom)]
                words += [f"-Dwork={work.resolve()}", "package"]
                subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
                done.touch()
    return work / "job" / "flink-job.jar"


@dataclass(frozen=True)
class Cluster:
    """A cluster whose configuration, logs and process ids are in `folder`.

    Use as a context manager, or call `up` and `down`.
    """

    folder: Path
    work: Path = WORK

    @property
    def master(self) -> str:
        """HOST:PORT, as `--flink_master` takes it."""
        return (self.folder / "master").read_text()

    @property
    def jar(self) -> Path:
        return self.work / "job" / "flink-job.jar"

    def __enter__(self) -> Cluster:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *exc) -> None:
        self.down()

    def up(self) -> None:
        """Start what does not run, and wait until all TaskManagers offer their slots.

        Raises
        ------
        RuntimeError
            They are not, after a while, or a JVM ended; the message has the end of its log.
        """
        built(self.work)
        if not self._runs("jobmanager"):
            self.folder.mkdir(parents=True, exist_ok=True)
            rest, rpc = _free_ports(2)
            config = {**_CONFIG, "rest.port": rest, "jobmanager.rpc.port": rpc}
            lines = (f"{name}: {value}" for name, value in config.items())
            (self.folder / "config.yaml").write_text("\n".join(lines) + "\n")
            (self.folder / "log4j.properties").write_text(_LOG)
            (self.folder / "master").write_text(f"127.0.0.1:{rest}")
            self._start("jobmanager", _JOBMANAGER, "--executionMode", "cluster")
        for name in TASKMANAGERS:
            self.start_taskmanager(name)
        self._wait(len(TASKMANAGERS))

    def start_taskmanager(self, name: str) -> None:
        """Start a TaskManager unless it runs."""
        if not self._runs(name):
            self._start(name, _TASKMANAGER, "-D", f"taskmanager.resource-id={name}")

    def kill_taskmanager(self, name: str = TASKMANAGERS[0]) -> None:
        """SIGKILL; what it started is left to itself."""
        process = self.process(name)
        if process is None:
            raise RuntimeError(f"{name} does not run")
        process.kill()
        psutil.wait_procs([process], timeout=10)

    def process(self, name: str) -> psutil.Process | None:
        """A JVM of the cluster, None where it does not run."""
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            note = json.loads((self.folder / f"{name}.json").read_text())
            process = psutil.Process(note["pid"])
            if process.create_time() == note["started"] and process.status() != "zombie":
                return process
        return None

    def name_of(self, process: psutil.Process) -> str:
        """Which of the TaskManagers a process is."""
        (name,) = [name for name in TASKMANAGERS if self.process(name) == process]
        return name

    def get(self, path: str):
        """What the JobManager answers, such as to `/jobs/overview`."""
        with urllib.request.urlopen(f"http://{self.master}{path}", timeout=10) as answer:
            return json.load(answer)

    def down(self) -> None:
        """End the JVMs and all that they started, also what outlived one that was killed."""
        sessions = set()
        for path in self.folder.glob("*manager*.json"):
            note = json.loads(path.read_text())
            # Unless the number was given to another process since.
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(note["pid"]).create_time() != note["started"]:
                    continue
            sessions.add(note["pid"])
            path.unlink()
        family = [process for process in psutil.process_iter() if _session(process) in sessions]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        # Each job leaves its jar there, and each process a copy.
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    def _runs(self, name: str) -> bool:
        return self.process(name) is not None

    def _start(self, name: str, entry: str, *words: str) -> None:
        log = self.folder / f"{name}.log"
        with open(self.folder / f"{name}.out", "ab") as out:
            process = subprocess.Popen(
                [
                    "java",
                    *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTED),
                    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED),
                    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
                    *_HEAP[entry],
                    f"-Djava.io.tmpdir={_temporary(self.folder)}",
                    f"-Dlog.file={log}",
                    f"-Dlog4j.configurationFile=file:{self.folder / 'log4j.properties'}",
                    *("-cp", f"{self.work / 'lib'}/*"),
                    *(entry, "--configDir", str(self.folder), *words),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        note = {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}
        (self.folder / f"{name}.json").write_text(json.dumps(note))

    def _wait(self, taskmanagers: int) -> None:
        end = time.monotonic() + UP_S
        while time.monotonic() < end:
            for name in ("jobmanager", *TASKMANAGERS):
                if not self._runs(name):
                    raise RuntimeError(f"Flink: {name} ended: {self._last_words(name)}")
            with suppress(OSError, ValueError):
                found = self.get("/overview")
                # A TaskManager offers its slots a moment after it is known.
                if min(found["taskmanagers"], found["slots-total"]) >= taskmanagers:
                    return
            time.sleep(0.3)
        raise RuntimeError(
            f"Flink: {taskmanagers} TaskManagers expected within {UP_S:g} s; "
            f"the logs in {self.folder} end with: "
            + "".join(
                f"\n{name}: {self._last_words(name)}" for name in ("jobmanager", *TASKMANAGERS)
            )
        )

    def _last_words(self, name: str, length: int = 2_000) -> str:
        texts = []
        for path in (self.folder / f"{name}.log", self.folder / f"{name}.out"):
            with suppress(OSError):
                texts.append(path.read_text(errors="replace")[-length:].strip())
        return "\n".join(filter(None, texts)) or "it wrote nothing"


def _temporary(folder: Path) -> Path:
    path = folder / "tmp"
    path.mkdir(exist_ok=True)
    return path


def _free_ports(count: int) -> list[int]:
    free = []
    for port in random.sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            free.append(port)
        if len(free) == count:
            return free
    raise RuntimeError(f"no {count} free ports from {PORTS.start} to {PORTS.stop - 1}")


def _session(process: psutil.Process) -> int | None:
    with suppress(ProcessLookupError, PermissionError):
        return os.getsid(process.pid)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("do", choices=["up", "down", "status", "kill-taskmanager"])
    parser.add_argument("--work", type=Path, default=WORK, help="default: %(default)s")
    options = parser.parse_args()
    cluster = Cluster(options.work / "run", options.work)
    if options.do == "up":
        for tool in ("java", "mvn"):
            if shutil.which(tool) is None:
                sys.exit(f"no {tool} on the PATH; Java 17 and Maven expected")
        cluster.up()
        print(f"Flink is up: http://{cluster.master}. Use it with")
        print(f"  ser run --runner=FlinkRunner --flink_master={cluster.master} \\")
        print(f"      --flink_job_server_jar={os.path.relpath(cluster.jar)} …")
    elif options.do == "down":
        cluster.down()
    elif options.do == "kill-taskmanager":
        cluster.kill_taskmanager()
    else:
        for name in ("jobmanager", *TASKMANAGERS):
            process = cluster.process(name)
            print(f"{name}: {f'process {process.pid}' if process else 'does not run'}")


if __name__ == "__main__":
    main()
