"""Collections in stores: in memory, and in S3 over a bad line."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from batch_help import collection, lines, tree
from test_batch import NAMES, OUTPUTS, run, succeed

fsspec = pytest.importorskip("fsspec", reason="needs the extra `store`")

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


class BadLine:
    """A TCP proxy on loopback that is slow, and drops connections in turn.

    Of every five connections one is closed at once and one in the middle of the answer.
    """

    def __init__(self, port: int, delay: float) -> None:
        self.target, self.delay = port, delay
        self.opened = self.dropped = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            self.opened += 1
            threading.Thread(target=self._serve, args=(client, self.opened), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        if number % 5 == 2:
            self.dropped += 1
            client.close()
            return
        budget = 700 if number % 5 == 4 else None  # bytes of answers before it is cut
        far = socket.create_connection(("127.0.0.1", self.target))
        up = threading.Thread(target=self._pump, args=(client, far, None), daemon=True)
        up.start()
        if self._pump(far, client, budget):
            self.dropped += 1

    def _pump(self, source: socket.socket, target: socket.socket, budget: int | None) -> bool:
        """Pass bytes on until one side ends; True if it was cut for its budget."""
        passed, cut = 0, False
        try:
            while data := source.recv(1 << 16):
                time.sleep(self.delay)
                if budget is not None and passed + len(data) > budget:
                    target.sendall(data[: budget - passed])
                    cut = True
                    break
                target.sendall(data)
                passed += len(data)
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        return cut

    def close(self) -> None:
        self.server.close()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadLine]:
    """moto's S3 server behind a bad line, with a bucket."""
    pytest.importorskip("s3fs", reason="needs the extra `store`")
    server_module = pytest.importorskip("moto.server", reason="needs moto[s3], flask")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    straight = fsspec.filesystem(
        "s3", endpoint_url=f"http://{host}:{port}", skip_instance_cache=True
    )
    straight.mkdir("photos")
    with closing(BadLine(port, delay=0.02)) as bad:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bad.port}")
        yield bad
    server.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_bucket_is_encoded_over_a_bad_line(
    line: BadLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    collection(tmp_path / "photos", NAMES)
    fs = fsspec.filesystem("s3")
    for name in NAMES:
        fs.pipe_file(f"photos/in/{name}", (tmp_path / "photos" / name).read_bytes())
    fs.pipe_file("photos/in/bad.png", b"no picture")
    outcome = run("encode", "s3://photos/in", "s3://photos/out", "-j", 1, "-q", 30, "--verify")
    assert outcome.exit_code == 1, outcome.output
    assert "4 done, 0 done before, 1 failed" in outcome.stdout
    assert "Error: s3://photos/in/bad.png: not an image" in outcome.stderr
    assert line.dropped >= 3, "the line was not bad enough to show anything"

    there = {name.removeprefix("photos/out/") for name in fs.find("photos/out")}
    assert there == OUTPUTS | {"manifest.jsonl"}
    phases = lines(tmp_path / "photos-out.manifest.jsonl", "done")[0]["phases"]
    assert phases["network"] > 0 and "read" not in phases

    # on another machine: the manifest comes from the store
    (tmp_path / "photos-out.manifest.jsonl").unlink()
    outcome = run("encode", "s3://photos/in", "s3://photos/out", "-j", 1, "-q", 30, "--json")
    values = json.loads(outcome.stdout)
    assert (values["done"], values["done_before"], values["failed"]) == (0, 4, 1)

    succeed("decode", "s3://photos/out/sub", "back", "-j", 1)
    assert tree(tmp_path / "back") == {
        "a.jpg.png",
        "a.png",
        "deep/ü b.webp.png",
        "manifest.jsonl",
    }


def test_a_store_in_memory_and_a_shard_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    collection(tmp_path / "photos", NAMES[:2])
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    from test_batch import make_tar

    shard = make_tar(
        tmp_path / "s.tar", {n: (tmp_path / "photos" / n).read_bytes() for n in NAMES[:2]}
    )
    fs.pipe_file("/shards/s.tar", shard.read_bytes())
    succeed("encode", "memory://shards/s.tar", "memory://out", "-j", 1, "-q", 30)
    assert {n for n in fs.store if n.startswith("/out")} == {
        "/out/a.png.dctc",
        "/out/sub/a.png.dctc",
        "/out/manifest.jsonl",
    }
    fs.store.clear()
