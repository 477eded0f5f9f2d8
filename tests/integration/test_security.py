"""What strangers can reach, and what hostile names and texts can do. Runs on the local system, where TLS is on too."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from distributed.security import Security

from ..snakefiles import HELD
from ..workflow import HOST, PILOT, Workflow


class Payload:
    """Pickled, it is a command that runs where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workflow]:
    """A run with one job that waits; it must end well whatever strangers did meanwhile."""
    workflow = Workflow(tmp_path_factory.mktemp("held")).write(HELD)
    process = workflow.start("--jobs", "1")
    try:
        workflow.wait_for_line("tries")
        yield workflow
        (workflow.folder / "go").touch()
        assert process.wait(60) == 0, workflow.output
    finally:
        process.kill()
        process.wait()
        assert workflow.leftovers(20) == []
    assert not (workflow.folder / "pwned").exists()
    assert workflow.read("tries").count("\n") == 1


def ports(workflow: Workflow) -> list[int]:
    """All ports that processes of the run listen on; those of the scheduler and of the worker are among them."""
    ours = {process.pid for process in workflow.processes()}
    listening = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    assert len({c.pid for c in listening}) == 2  # the controller with the scheduler, and the pilot
    return [c.laddr.port for c in listening]


def context(security: Security | None) -> ssl.SSLContext:
    if security is not None:
        found: ssl.SSLContext = security.get_connection_args("client")["ssl_context"]
        found.verify_mode = ssl.CERT_NONE  # a stranger doesn't care whom it talks to
        return found
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    return anyone


def send(port: int, data: bytes, tls: ssl.SSLContext | None) -> bytes:
    """What comes back from a port; b"" where it refuses to talk."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=2) as plain,
            tls.wrap_socket(plain) if tls else plain as sock,
        ):
            sock.sendall(data)
            return sock.recv(4096)
    except OSError:  # reset, a TLS alert, or silence
        return b""


def test_no_port_reads_what_an_unauthenticated_peer_sends(held: Workflow) -> None:
    payload = pickle.dumps(Payload(held.folder / "pwned"))
    frames = [8, 1, len(payload)]  # as distributed frames a message: their number, their lengths, their bytes
    message = b"".join(number.to_bytes(8, "little") for number in frames) + payload
    peers = {"plain": None, "without a certificate": context(None), "with its own": context(Security.temporary())}
    tries = [(peer, port, data) for peer in peers for port in ports(held) for data in (payload, message)]
    with ThreadPoolExecutor(len(tries)) as threads:
        answers = threads.map(lambda tried: send(tried[1], tried[2], peers[tried[0]]), tries)
        for (peer, port, _), answer in zip(tries, answers, strict=True):
            # Dask's HTTP servers refuse in their own words; the others say nothing but TLS alerts.
            assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"\x15\x03")), (peer, port, answer)
    assert not (held.folder / "pwned").exists()


def test_the_http_ports_that_dask_opens_answer_nothing(held: Workflow) -> None:
    for port in ports(held):
        for page in ("", "status", "info/main/workers.html", "metrics", "health", "json/counts.json"):
            with pytest.raises((urllib.error.HTTPError, OSError)) as caught:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=3)
            if isinstance(caught.value, urllib.error.HTTPError):
                with caught.value as answer:
                    assert answer.code == 404


def test_nothing_of_a_run_can_be_read_by_others_whatever_the_umask(held: Workflow) -> None:
    run = held.run_folders[-1]
    assert os.stat(run).st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in (run / "tls").iterdir()} == {
        "ca.pem": 0o600,
        "cert.pem": 0o600,
        "key.pem": 0o600,
    }
    if os.getuid() == 0:
        for folder in (held.folder, *held.folder.parents):
            if str(folder).startswith("/tmp/"):
                folder.chmod(0o755)  # pytest's own folders are closed
        for name in ("tls/key.pem", "journal.jsonl", "pilots/local-1.log"):
            refused = subprocess.run(["cat", str(run / name)], user=65534, capture_output=True, text=True)
            assert (refused.stdout, "Permission denied" in refused.stderr) == ("", True)


def test_there_is_no_unix_socket_that_another_process_could_open(held: Workflow) -> None:
    ours = {process.pid for process in held.processes()}
    assert [c.laddr for c in psutil.net_connections("unix") if c.pid in ours and c.laddr] == []


def test_the_key_of_a_run_is_in_no_command_line_environment_log_or_journal(held: Workflow) -> None:
    run = held.run_folders[-1]
    key = (run / "tls" / "key.pem").read_text().splitlines()[1]
    shown = []
    for process in held.processes():
        with suppress(psutil.NoSuchProcess):  # the job's own processes come and go
            shown += [*process.cmdline(), str(process.environ())]
    assert {PILOT, HOST} <= set(shown)
    assert key not in "\n".join(shown)
    for path in run.rglob("*"):
        assert path.is_dir() or path.parent.name == "tls" or key not in path.read_text(errors="replace"), path


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31m\r\x08\x9b1m‮"


def test_texts_of_rules_cannot_steer_the_terminal_or_forge_the_journal(any_warmth: Workflow) -> None:
    forged = '\n{"t":0,"event":"job_reported","key":"forged","success":true}\n'
    any_warmth.write(f"""
        rule loud:
            output: "x"
            params: text={HOSTILE + forged!r}
            run:
                print(params.text, "the last words", flush=True)
                raise ValueError
    """)
    assert any_warmth.run("--jobs", "1") == 1
    ours = any_warmth.output[any_warmth.output.index("last lines of the log") :]
    assert "the last words" in ours
    assert not set("\x1b\x07\r\x08\x9b‮") & set(ours)
    assert not [event for event in any_warmth.journal() if event.get("key") == "forged"]


def test_names_of_groups_stay_in_the_run_folder(workflow: Workflow) -> None:
    workflow.write("""
        rule all:
            input: "b"
        rule first:
            output: "a"
            group: "../../../../escaped $(touch pwned)"
            shell: "touch {output}"
        rule second:
            input: "a"
            output: "b"
            group: "../../../../escaped $(touch pwned)"
            shell: "touch {output}"
    """)
    assert workflow.run("--jobs", "1", "--daskjq-keep-successful-logs") == 0, workflow.output
    assert len(list((workflow.run_folders[-1] / "logs").rglob("*.log"))) == 1
    assert not (workflow.folder / "pwned").exists()
    assert not (workflow.folder / ".snakemake" / "daskjq" / "escaped $(touch pwned)").exists()


@pytest.fixture
def scratch(workflow: Workflow) -> Path:
    """Where a run's temporary files lie."""
    folder = workflow.folder / "tmp"
    folder.mkdir()
    workflow.env["TMPDIR"] = str(folder)
    return folder


def test_a_killed_run_leaves_no_temporary_files(workflow: Workflow, scratch: Path) -> None:
    workflow.write("""
        rule a:
            output: "x"
            shell: "touch $TMPDIR/left up; sleep 600"
    """)
    process = workflow.start("--jobs", "1")
    workflow.wait_for("up")
    workflow.only(PILOT).kill()
    process.kill()
    process.wait()
    assert workflow.leftovers(timeout=20) == []
    assert list(scratch.glob("daskjq-*")) == []


@pytest.mark.parametrize("killed", [False, True], ids=["interrupted", "killed"])
@pytest.mark.parametrize("meanwhile", ["tmp/daskjq-*/rehearsal-*", "parsing"], ids=["rehearsal", "parse"])
def test_a_run_that_ends_before_its_first_job_leaves_nothing(
    workflow: Workflow, scratch: Path, meanwhile: str, killed: bool
) -> None:
    workflow.write("""
        import subprocess, sys
        if "--mode" in sys.argv:  # in the host
            subprocess.run("touch parsing; sleep 600", shell=True)
        rule a:
            output: "x"
            shell: "touch tries {output}"
    """)
    workflow.env["SNAKEMAKE_DASKJQ_WARM_START"] = "workflow"
    process = workflow.start("--jobs", "1")
    workflow.wait_until(lambda: list(workflow.folder.glob(meanwhile)))
    if killed:
        workflow.only(PILOT).kill()
        process.kill()
    else:
        process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert workflow.leftovers(timeout=20) == []
    assert list(scratch.glob("daskjq*")) == []
    assert not (workflow.folder / "tries").exists()
