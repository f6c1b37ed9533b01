"""Requests of a test through redis-py: reads one JSON array of arguments a line, writes one JSON reply a line.

Strings stand for bytes: each character is one byte (latin-1). Errors are {"error": "CODE message"}.
Usage: redis_py_client.py SOCKET [PROTOCOL]; without a protocol, redis-py chooses as it does for everybody.
"""

import json
import re
import sys

import redis


def plain(reply):
    if isinstance(reply, bytes):
        return reply.decode("latin-1")
    if isinstance(reply, dict):
        return {plain(key): plain(value) for key, value in reply.items()}
    if isinstance(reply, (list, tuple)):
        return [plain(item) for item in reply]
    return reply


options = {"protocol": int(sys.argv[2])} if len(sys.argv) > 2 else {}
client = redis.Redis(unix_socket_path=sys.argv[1], **options)
for line in sys.stdin:
    request = [argument.encode("latin-1") for argument in json.loads(line)]
    try:
        reply = plain(client.execute_command(*request))
    except redis.ResponseError as error:
        # redis-py takes the code ERR away, other codes it leaves.
        text = str(error)
        reply = {"error": text if re.match("[A-Z]+( |$)", text) else "ERR " + text}
    print(json.dumps(reply), flush=True)
client.close()
