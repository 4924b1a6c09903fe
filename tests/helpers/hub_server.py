"""A stand-in for the Hub on loopback: what huggingface_hub asks for when it pushes a model, kept in memory.

It speaks HTTP as huggingface_hub 2.4 with `HF_HUB_DISABLE_XET=1` does: repositories, preupload, git-lfs in one piece or
in parts, commits, downloads. It can be told to fail. It knows models and the branch `main` only; no pull requests.
"""

import base64
import hashlib
import json
import math
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


WRITER, READER = "hf_writes", "hf_reads"  # tokens of the user `me`, who may write to `me/...`
PART_SIZE = 1_000_000  # a larger file is uploaded in parts of that many bytes
LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".png", ".parquet")
BLOCK = 4096


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str = "", **details: str):
        self.status, self.message, self.code, self.details = status, message, code, details


class ConnectionCut(Exception):
    """The connection is to be closed without an answer."""


@dataclass
class Repository:
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})
    lfs_paths: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=lambda: ["initial commit"])
    history: dict[str, dict[str, bytes]] = field(default_factory=dict)  # the files after each commit
    is_private: bool = False

    @property
    def head(self) -> str:
        return hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()

    def get_oid(self, path: str) -> str | None:
        content = self.files.get(path)
        if content is None:
            return None
        if path in self.lfs_paths:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # as git names it


class HubServer:
    """The server and what it holds; `with HubServer() as hub:` starts it on a free port."""

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # of git-lfs, by SHA-256
        self.parts: dict[tuple[str, int], bytes] = {}
        self.requests: list[tuple[str, str, int]] = []  # method, path, status; 0 where the connection was cut
        self.num_bytes = 0  # of request bodies
        self.lock = threading.RLock()
        self.heal()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def heal(self) -> None:
        """Answer as the Hub does again."""
        self._status, self._failing, self.delay = 0, "", 0.0
        self._bytes_left = self._cuts_left = math.inf

    def fail(self, status: int, request: str = "") -> None:
        """Answer with a status to every request whose method and path, as `PUT /lfs/0a1b`, contain `request`."""
        self._status, self._failing = status, request

    def cut_after(self, num_bytes: int, num_cuts: float = math.inf) -> None:
        """Close the connection after that many bytes of request bodies, and the next ones at once."""
        self._bytes_left, self._cuts_left = num_bytes, num_cuts

    def note_cut(self) -> None:
        with self.lock:
            self._cuts_left -= 1
            if self._cuts_left <= 0:
                self.heal()

    def receive(self, num_bytes: int) -> int:
        """Return how many of the next bytes may be read before the connection is cut."""
        with self.lock:
            allowed = int(min(num_bytes, self._bytes_left))
            self._bytes_left -= allowed
            self.num_bytes += allowed
            return allowed

    def check_connection(self) -> None:
        if self._bytes_left <= 0:
            raise ConnectionCut

    # Answers -----------------------------------------------------------------------------------------------------------

    def answer(self, method: str, url: str, body: bytes, token: str | None) -> Any:
        """Return what is sent as JSON, or as it is where it is bytes, or raise `Refusal`."""
        path, query = unquote(urlsplit(url).path), parse_qs(urlsplit(url).query)
        self.check_connection()
        if self._status and self._failing in f"{method} {path}":
            raise Refusal(self._status, "told to fail")
        with self.lock:
            for pattern, name in _ROUTES:
                if match := re.fullmatch(pattern, f"{method} {path}"):
                    return getattr(self, name)(*match.groups(), body=body, token=token, query=query)
        raise Refusal(404, f"this stand-in has no {method} {path}")

    def _check_token(self, token: str | None, repo_id: str | None = None) -> None:
        if token not in (WRITER, READER):
            raise Refusal(401, "Invalid username or password." if token is None else "Invalid user token.")
        if repo_id is not None and (token == READER or not repo_id.startswith("me/")):
            raise Refusal(403, "Forbidden: you don't have the rights to write to this repository")

    def _find(self, repo_id: str) -> Repository:
        if repo_id not in self.repositories:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return self.repositories[repo_id]

    def _who_am_i(self, body, token, query) -> Any:
        self._check_token(token)
        return {"type": "user", "name": "me", "orgs": [], "auth": {"accessToken": {"role": token[3:]}}}

    def _create(self, body, token, query) -> Any:
        request = json.loads(body)
        repo_id = f"{request.get('organization') or 'me'}/{request['name']}"
        self._check_token(token, repo_id)
        if repo_id in self.repositories:
            raise Refusal(409, "You already created this model repo", url=f"{self.endpoint}/{repo_id}")
        is_private = bool(request.get("private")) or request.get("visibility") == "private"
        self.repositories[repo_id] = Repository(is_private=is_private)
        return {"url": f"{self.endpoint}/{repo_id}", "name": repo_id, "id": repo_id}

    def _check_write(self, repo_id, body, token, query) -> Any:
        self._find(repo_id)
        self._check_token(token, repo_id)
        return {}

    def _describe(self, repo_id, revision, body, token, query) -> Any:
        self._check_token(token)
        repository = self._find(repo_id)
        siblings = [{"rfilename": path} for path in repository.files]
        return {
            "id": repo_id,
            "sha": repository.head,
            "private": repository.is_private,
            "tags": [],
            "siblings": siblings,
        }

    def _check_yaml(self, body, token, query) -> Any:
        return {"errors": [], "warnings": []}

    def _choose_modes(self, repo_id, body, token, query) -> Any:
        repository = self._find(repo_id)
        self._check_token(token, repo_id)
        files = []
        for file in json.loads(body)["files"]:
            is_binary = file["path"].endswith(LFS_SUFFIXES) or b"\0" in base64.b64decode(file["sample"])
            mode = "lfs" if is_binary or file["size"] > 10_000_000 else "regular"
            oid = repository.get_oid(file["path"])
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": files, "commitOid": repository.head}

    def _start_uploads(self, repo_id, body, token, query) -> Any:
        self._find(repo_id)
        self._check_token(token, repo_id)
        answers = []
        for wanted in json.loads(body)["objects"]:
            answer, oid, size = dict(wanted), wanted["oid"], wanted["size"]
            if oid not in self.objects:
                upload: dict[str, Any] = {"href": f"{self.endpoint}/lfs/{oid}"}
                if size > PART_SIZE:
                    numbers = range(1, math.ceil(size / PART_SIZE) + 1)
                    upload["header"] = {str(number): f"{upload['href']}?part={number}" for number in numbers}
                    upload["header"]["chunk_size"] = str(PART_SIZE)
                verify = {"href": f"{self.endpoint}/lfs/{oid}/verify"}
                answer["actions"] = {"upload": upload, "verify": verify}
            answers.append(answer)
        return {"transfer": "multipart", "objects": answers}

    def _upload(self, oid, body, token, query) -> Any:
        time.sleep(self.delay)
        if "part" in query:
            self.parts[oid, int(query["part"][0])] = body
        else:
            self._store(oid, body)
        return {}

    def _join_parts(self, oid, body, token, query) -> Any:
        numbers = [part["partNumber"] for part in json.loads(body)["parts"]]
        self._store(oid, b"".join(self.parts[oid, number] for number in numbers))
        return {}

    def _store(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(422, "the uploaded bytes do not have the announced SHA-256")
        self.objects[oid] = content

    def _verify(self, oid, body, token, query) -> Any:
        if len(self.objects.get(oid, b"")) != json.loads(body)["size"]:
            raise Refusal(422, "the object is not here")
        return {}

    def _commit(self, repo_id, body, token, query) -> Any:
        repository = self._find(repo_id)
        self._check_token(token, repo_id)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        added = {}  # a commit is made whole or not at all
        for operation in operations:
            file = operation["value"]
            if operation["key"] == "file":
                added[file["path"]] = base64.b64decode(file["content"])
            elif operation["key"] == "lfsFile" and file["oid"] in self.objects:
                added[file["path"]] = self.objects[file["oid"]]
                repository.lfs_paths.add(file["path"])
            else:
                raise Refusal(422, f"cannot commit {operation['key']} {file['path']}")
        repository.files |= added
        repository.commits.append(header["value"]["summary"])
        repository.history[repository.commits[-1]] = dict(repository.files)
        url = f"{self.endpoint}/{repo_id}/commit/{repository.head}"
        return {"success": True, "commitOid": repository.head, "commitUrl": url}

    def _download(self, repo_id, path, body, token, query) -> Any:
        return self._find(repo_id).files[path]


_ROUTES = [
    (r"GET /api/whoami-v2", "_who_am_i"),
    (r"POST /api/repos/create", "_create"),
    (r"POST /api/validate-yaml", "_check_yaml"),
    (r"GET /api/models/([^/]+/[^/]+)/auth-check/write", "_check_write"),
    (r"GET /api/models/([^/]+/[^/]+)(?:/revision/(main))?", "_describe"),
    (r"POST /api/models/([^/]+/[^/]+)/preupload/main", "_choose_modes"),
    (r"POST /api/models/([^/]+/[^/]+)/commit/main", "_commit"),
    (r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch", "_start_uploads"),
    (r"PUT /lfs/(\w+)", "_upload"),
    (r"POST /lfs/(\w+)", "_join_parts"),
    (r"POST /lfs/(\w+)/verify", "_verify"),
    (r"GET /([^/]+/[^/]+)/resolve/main/(.+)", "_download"),
]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def _handle(self) -> None:
        status: int = 0
        try:
            body = self._read_body()
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            answer = self.hub.answer(self.command, self.path, body, token)
            status = 200
            self._send(200, answer)
        except Refusal as refusal:
            status = refusal.status
            self._send(status, {"error": refusal.message} | refusal.details, refusal)
        except ConnectionCut:
            self.hub.note_cut()
            self._cut()
        finally:
            self.hub.requests.append((self.command, urlsplit(self.path).path, status))

    do_GET = do_POST = do_PUT = do_HEAD = _handle

    def _read_body(self) -> bytes:
        self.hub.check_connection()
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self._read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self._read(int(self.headers.get("Content-Length") or 0))

    def _read(self, size: int) -> bytes:
        blocks = []
        while size:
            block = self.rfile.read(self.hub.receive(min(size, BLOCK)))
            if not block:
                raise ConnectionCut
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)

    def _send(self, status: int, answer: Any, refusal: Refusal | None = None) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if not isinstance(answer, bytes):
            self.send_header("Content-Type", "application/json")
        if self.command == "PUT":
            self.send_header("ETag", hashlib.sha256(content).hexdigest())
        if refusal is not None:
            self.send_header("X-Error-Message", refusal.message)
            if refusal.code:
                self.send_header("X-Error-Code", refusal.code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _cut(self) -> None:
        # A reset, as when a machine or a proxy on the way goes down: what is not yet read is dropped.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass
