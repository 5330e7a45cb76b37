"""HTTP as clients and proxies really send it, over plain sockets."""

import json

import pytest

HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: engine\r\n"
BODY = json.dumps({"prompt": "on", "max_tokens": 2, "ignore_eos": True}).encode()


def read_answer(connection):
    """Status and body of one answer with a content length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1)
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += connection.recv(int(fields[b"content-length"]) - len(body))
    return int(head.split()[1]), body


async def test_a_chunked_body_in_small_pieces_is_read_whole(engines, raw):
    connection = raw(await engines.ready())
    connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    for at in range(0, len(BODY), 7):
        piece = BODY[at : at + 7]
        connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    connection.sendall(b"0\r\n\r\n")

    status, body = read_answer(connection)

    assert status == 200
    assert json.loads(body)["usage"]["completion_tokens"] == 2


async def test_requests_sent_ahead_are_answered_in_order_on_one_connection(engines, raw):
    connection = raw(await engines.ready())
    slow = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    quick = b"GET /version HTTP/1.1\r\nhost: engine\r\n\r\n"

    connection.sendall(slow + quick + quick)

    answers = [read_answer(connection) for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 200]
    assert "choices" in json.loads(answers[0][1])
    assert "version" in json.loads(answers[2][1])


async def test_an_old_client_gets_its_stream_until_the_connection_ends(engines, raw):
    connection = raw(await engines.ready())
    body = json.dumps({"prompt": "on", "max_tokens": 5, "ignore_eos": True, "stream": True}).encode()
    connection.sendall(b"POST /v1/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    data = b""
    while piece := connection.recv(65536):
        data += piece

    assert b"chunked" not in data
    assert data.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"HELLO\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2000001\r\n" + b"y" * 0x2000001, 413),
    ],
)
async def test_what_is_not_http_or_too_large_is_refused_and_closed(engines, raw, sent, status):
    connection = raw(await engines.ready())
    try:
        connection.sendall(sent)
    except (BrokenPipeError, ConnectionResetError):
        return  # it closed while we were still sending, which is its right

    try:
        assert read_answer(connection)[0] == status
    except ConnectionResetError:
        return


async def test_an_idle_connection_is_closed_after_the_keep_alive_time(engines, raw):
    connection = raw(await engines.ready(VLLM_HTTP_TIMEOUT_KEEP_ALIVE="0.2"))
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: engine\r\n\r\n")
    assert read_answer(connection)[0] == 200

    assert connection.recv(1) == b""
