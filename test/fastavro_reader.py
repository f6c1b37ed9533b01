"""Reads Avro files with fastavro, which knows nothing of us: their paths on standard input, one JSON line each on standard output."""

import datetime
import json
import sys

import fastavro

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)

for path in sys.stdin.read().splitlines():
    with open(path, "rb") as file:
        reader = fastavro.reader(file)
        entries = [
            [
                record["sequence"],
                (record["timestamp"] - EPOCH) // MICROSECOND,
                record["operation"],
                record["key"],
                record["payload"].hex(),
            ]
            for record in reader
        ]
        assert file.read() == b"", f"{path}: something stands behind the last block"
        print(
            json.dumps(
                {
                    "codec": reader.codec,
                    "schema": reader.writer_schema["name"],
                    "collection": reader.metadata["proximadb.wal.collection"],
                    "entries": entries,
                }
            )
        )
