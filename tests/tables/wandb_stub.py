"""As much of wandb's service, on the loopback address, as saving and loading views asks for."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PROJECT = {"id": "1", "name": "rga", "entityName": "me", "createdAt": "2026-01-01T00:00:00", "isBenchmark": False}


@dataclass
class Service:
    """What was sent to it: the views by id, and how often one was saved."""

    address: str = ""
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    saved: int = 0

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" in query:
            self.saved += 1
            name = given.get("id") or f"Vmlldzo{len(self.views)}"
            view = {"id": name, "createdAt": "2026-01-01T00:00:00", "updatedAt": "2026-01-01T00:00:00", **given}
            self.views[name] = {**view, "id": name, "project": _PROJECT}
            return {"upsertView": {"view": self.views[name], "inserted": True}}
        if "allViews" in query:
            found = [view for view in self.views.values() if view["name"] == given["viewName"]]
            return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}
        if "reportId" in given:
            return {"view": self.views[given["reportId"]]}
        if "GetProjects" in query:
            page = {"endCursor": "1", "hasNextPage": False}
            return {"models": {"edges": [{"node": {**_PROJECT, "user": None}, "cursor": "1"}], "pageInfo": page}}
        assert re.search(r"query Viewer|ServerInfo", query), query
        user = {"id": "1", "username": "me", "entity": "me", "admin": False, "flags": "{}", "email": "me@example.org"}
        return {"viewer": {**user, "teams": {"edges": []}, "apiKeys": {"edges": []}}, "serverInfo": None}


@contextmanager
def service() -> Iterator[Service]:
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            if self.path == "/graphql":  # else what wandb tells of itself
                asked = json.loads(sent)
                content = json.dumps({"data": found.answer(asked["query"], asked.get("variables") or {})}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()
