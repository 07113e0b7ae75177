"""A hub on this machine: what `huggingface_hub.snapshot_download` asks for, of one folder."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OWNED = "someone/small"


class Handler(BaseHTTPRequestHandler):
    """Answers for the repository `OWNED`, whose revisions are folders by name."""

    revisions: dict[str, Path]

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def answer(self):
        path = self.path.partition("?")[0].strip("/")
        folders = {commit(name): folder for name, folder in self.revisions.items()}
        named = {commit(name): commit(name) for name in self.revisions}
        named |= {name: commit(name) for name in self.revisions}
        for start in (f"api/models/{OWNED}/revision/", f"api/models/{OWNED}/tree/"):
            if not path.startswith(start):
                continue
            found = named.get(path.removeprefix(start))
            if found is None:
                self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif "/tree/" in start:
                self.reply(200, json.dumps(list(map(entry, folders[found].iterdir()))).encode())
            else:
                self.reply(200, json.dumps({"id": OWNED, "sha": found, "siblings": []}).encode())
            return
        if path.startswith(f"{OWNED}/resolve/"):
            name, _, file = path.removeprefix(f"{OWNED}/resolve/").partition("/")
            content = (folders[name] / file).read_bytes()
            self.reply(200, content, {"ETag": f'"{oid(content)}"', "X-Repo-Commit": name})
            return
        self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def reply(self, status, content, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def commit(name):
    return hashlib.sha1(name.encode()).hexdigest()


def oid(content):
    return hashlib.sha1(content).hexdigest()


def entry(path):
    content = path.read_bytes()
    return {"type": "file", "path": path.name, "size": len(content), "oid": oid(content)}


@contextmanager
def serve(**revisions: Path):
    """Address of a hub that has the repository `OWNED` with these revisions."""
    handler = type("Handler", (Handler,), {"revisions": revisions})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
