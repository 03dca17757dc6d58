"""A small server with the interface of OpenAI, in a thread, which answers and fails as it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = int | str | bytes | dict[str, Any] | tuple[int, dict[str, str] | str] | tuple[int, str, str]


class AnswerServer(ThreadingHTTPServer):
    """Keeps what it was asked and with which key.

    ``reply`` makes the answer to a request's body. ``faults`` are what the next requests get instead: a
    status, a status with headers, a status with words and perhaps a parameter, or a body as it is; bytes are the beginning of
    a longer body.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, reply: Callable[[dict[str, Any]], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.faults, self.models = reply, [], ["tiny"]
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that have gone away."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        if self.server.models is None:
            return self.send(404, {"error": {"message": "no such page"}})
        self.server.keys.append(self.headers.get("Authorization"))
        return self.send(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append((self.path, body))
            self.server.keys.append(self.headers.get("Authorization"))
            fault = self.server.faults.pop(0) if self.server.faults else self.server.reply(body)
        headers, words, param = {}, None, []
        if isinstance(fault, tuple):
            fault, more, *param = fault
            headers, words = (more, None) if isinstance(more, dict) else ({}, more)
        if isinstance(fault, int):
            words = words or f"fault {fault} for {self.headers.get('Authorization')}"
            error = {"message": words, **({"param": param[0]} if param else {})}
            return self.send(fault, {"error": error}, headers)
        return self.send(200, fault, headers)

    def send(self, status, body, headers=None):
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        data = text.encode() if isinstance(text, str) else text
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) + 100 * isinstance(body, bytes)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def answering(reply: Callable[[dict[str, Any]], Reply]) -> Iterator[AnswerServer]:
    """Run a server until the block ends."""
    server = AnswerServer(reply)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat_reply(text, places=None, **choice):
    """A chat completion; ``places`` are (token, {alternative: log-probability})."""
    content = [
        {"token": token, "logprob": others.get(token, -9.0),
         "top_logprobs": [{"token": name, "logprob": value} for name, value in others.items()]}
        for token, others in places or ()
    ]  # fmt: skip
    made = {"message": {"content": text}, "finish_reason": "stop", **choice}
    if content:
        made["logprobs"] = {"content": content}
    return {"choices": [made], "usage": {"prompt_tokens": 50, "completion_tokens": 4}}
