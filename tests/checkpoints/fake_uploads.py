"""Uploads to the hub of ``fake_hub.py``: what huggingface_hub 2 sends without its own storage protocol (Xet).

``create_repo``, then the check of the card's metadata, ``preupload`` (LFS or a regular file), the LFS batch with one
PUT and one verification a file, and one commit as lines of JSON.
"""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_a_token_of_the_tests"  # noqa: S105
BOUND = 10 << 20  # from this size on, and for weights, a file is kept outside git


class Uploads(BaseHTTPRequestHandler):
    """Handles POST and PUT."""

    server: Any

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        body = self._body()
        for start, (status, text) in self.server.refusals.items():
            if path.startswith(start):
                return self._json(status, {"error": text})
        if path != "api/validate-yaml" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json(401, {"error": "Invalid username or password."})
        if path == "api/repos/create":
            return self._create(json.loads(body))
        if path == "api/validate-yaml":
            head = yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
            errors = [] if isinstance(head, dict) and head.get("license") else [{"message": "no license"}]
            return self._json(400 if errors else 200, {"errors": errors, "warnings": []})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        if path.startswith("lfs/verify"):
            return self._json(200 if json.loads(body)["oid"] in self.server.blobs else 404, {})
        name, _, rest = path.removeprefix("api/models/").partition("/preupload/")
        if rest:
            return self._json(200, {"files": [self._mode(each) for each in json.loads(body)["files"]]})
        name, _, rest = path.removeprefix("api/models/").partition("/commit/")
        operations = [json.loads(line) for line in body.splitlines()]
        if "create_pr=1" in urlsplit(self.path).query:
            return self._pull_request(name, operations)
        return self._commit(name, operations)

    def do_PUT(self) -> None:
        content = self._body()
        digest = urlsplit(self.path).path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != digest:
            return self._json(400, {"error": "another content"})
        self.server.blobs[digest] = content
        return self._json(200, {})

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        url = {"url": f"{self.server.url}/{name}"}
        if (self.server.root / name).is_dir():
            return self._json(409, {"error": "You already created this model repo", **url})
        (self.server.root / name).mkdir(parents=True)
        self.server.cards.setdefault(name, {})["private"] = wanted.get("visibility") == "private"
        return self._json(200, url)

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        is_large = file["size"] >= BOUND or file["path"].endswith(".safetensors")
        return {
            "path": file["path"],
            "uploadMode": "lfs" if is_large else "regular",
            "shouldIgnore": False,
            "oid": None,
        }

    def _batch(self, wanted: dict[str, Any]) -> None:
        def actions(oid: str) -> dict[str, Any]:
            put, verify = f"{self.server.url}/lfs/{oid}", f"{self.server.url}/lfs/verify"
            return {"upload": {"href": put}, "verify": {"href": verify}}

        objects = [{**each, "actions": actions(each["oid"])} for each in wanted["objects"]]
        return self._json(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, operations: list[dict[str, Any]]) -> None:
        folder: Path = self.server.root / name
        for operation in operations[1:]:
            value = operation["value"]
            file = folder / value["path"]
            if operation["key"] == "deletedFile":
                file.unlink()
                continue
            is_large = operation["key"] == "lfsFile"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.server.blobs[value["oid"]] if is_large else base64.b64decode(value["content"]))
        commit = hashlib.sha256(json.dumps(operations).encode()).hexdigest()[:40]
        url = f"{self.server.url}/{name}/commit/{commit}"
        return self._json(200, {"success": True, "commitOid": commit, "commitUrl": url})

    def _pull_request(self, name: str, operations: list[dict[str, Any]]) -> None:
        """Keep the files apart: a pull request changes nothing in the repository."""
        files = {each["value"]["path"]: base64.b64decode(each["value"]["content"]) for each in operations[1:]}
        self.server.pulls.append((name, operations[0]["value"]["summary"], files))
        url = f"{self.server.url}/{name}/discussions/{len(self.server.pulls)}"
        commit = {"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.server.url}/{name}/commit/{'0' * 40}"}
        return self._json(200, commit | {"pullRequestUrl": url})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
