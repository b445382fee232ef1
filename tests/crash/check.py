"""What must be true after any number of kills, from what the writers were told and what SQL shows."""

import uuid


def address(event_id):
    """(stream number, partition, offset) out of an id: UUIDv7 with 48 bits of time, 12 stream, 10 partition, 46 offset, 6 zero."""
    value = uuid.UUID(event_id).int
    low = value & ((1 << 62) - 1)
    return (value >> 64) & 0xFFF, low >> 52, (low >> 6) & ((1 << 46) - 1), low & 0x3F


def received_ms(event_id):
    return uuid.UUID(event_id).int >> 80


class Checks:
    """Named checks with their outcome; a failure keeps the first few places."""

    def __init__(self):
        self.results = []

    def add(self, name, problems):
        problems = list(problems)
        self.results.append((name, problems))
        print(f"  {'ok  ' if not problems else 'FAIL'} {name}", flush=True)
        for problem in problems[:8]:
            print(f"       {problem}")
        if len(problems) > 8:
            print(f"       … {len(problems)} in all")

    @property
    def failed(self):
        return sum(1 for _, problems in self.results if problems)

    @property
    def passed(self):
        return len(self.results) - self.failed


def stream_rows(query, stream):
    return query(
        f"SELECT _event_id::VARCHAR AS id, _partition AS partition, _offset AS n, epoch_us(_received_at) AS received_us, _key AS key, "
        f"json_extract_string(payload, '$.uid') AS uid, json_extract_string(payload, '$.seq')::BIGINT AS seq FROM bronze.{stream} ORDER BY _partition, _offset"
    )


def check_stream(checks, book, stream, rows, where):
    by_uid = {}
    for row in rows:
        by_uid.setdefault(row["uid"], []).append(row)
    requests = [r for r in book.requests if r.stream == stream]
    acknowledged = {p["uid"]: event_id for r in requests if r.ids for p, event_id in zip(r.payloads, r.ids)}
    sent = {p["uid"] for r in requests for p in r.payloads}

    checks.add(f"{where}: {stream}: {len(acknowledged)} acknowledged events are there", (uid for uid in acknowledged if uid not in by_uid))
    checks.add(f"{where}: {stream}: each exactly once", (f"{uid}: {len(found)} times, {[r['id'] for r in found]}" for uid, found in by_uid.items() if len(found) != 1))
    checks.add(f"{where}: {stream}: ids are those of the answers", (f"{uid}: answered {event_id}, stored {by_uid[uid][0]['id']}" for uid, event_id in acknowledged.items() if uid in by_uid and by_uid[uid][0]["id"] != event_id))
    checks.add(f"{where}: {stream}: nothing that nobody sent", (uid for uid in by_uid if uid not in sent))
    checks.add(f"{where}: {stream}: unanswered requests whole or not at all", half_stored(requests, by_uid))
    checks.add(f"{where}: {stream}: order per key", out_of_order(rows))
    checks.add(f"{where}: {stream}: ids are addresses, time never goes back", bad_addresses(rows))
    ids = {row["id"] for row in rows}
    checks.add(f"{where}: {stream}: what a reader saw is still there", (seen for seen, name in book.seen.items() if name == stream and seen not in ids))


def half_stored(requests, by_uid):
    for request in requests:
        if request.ids is None:
            stored = sum(1 for p in request.payloads if p["uid"] in by_uid)
            if stored not in (0, len(request.payloads)):
                yield f"{request.payloads[0]['uid']}…: {stored} of {len(request.payloads)}"
            if request.refused and stored:
                yield f"{request.payloads[0]['uid']}: refused, but stored"


def out_of_order(rows):
    last = {}
    for row in rows:  # ordered by partition and offset
        before = last.get(row["key"])
        if before and before["partition"] != row["partition"]:
            yield f"key {row['key']} in partitions {before['partition']} and {row['partition']}"
        elif before and before["seq"] >= row["seq"]:
            yield f"key {row['key']}: {before['seq']} stands before {row['seq']}"
        last[row["key"]] = row


def bad_addresses(rows):
    last = None
    numbers = {address(row["id"])[0] for row in rows}
    if len(numbers) > 1:
        yield f"several stream numbers: {numbers}"
    for row in rows:
        _, partition, offset, rest = address(row["id"])
        if (partition, offset, rest) != (row["partition"], row["n"], 0):
            yield f"{row['id']} says {partition}/{offset}/{rest}, the row {row['partition']}/{row['n']}"
        if received_ms(row["id"]) != row["received_us"] // 1000:
            yield f"{row['id']} says {received_ms(row['id'])} ms, _received_at {row['received_us']} us"
        if last and last["partition"] == row["partition"] and last["received_us"] > row["received_us"]:
            yield f"_received_at goes back at {row['partition']}/{row['n']}"
        last = row


def check_landing(checks, book, rows, where):
    expected = {uid for uids in book.files.values() for uid in uids}
    found = {}
    for row in rows:
        found.setdefault(row["uid"], []).append(row["id"])
    checks.add(f"{where}: pos: {len(expected)} rows of {len(book.files)} files are there", (uid for uid in expected if uid not in found))
    checks.add(f"{where}: pos: each exactly once", (f"{uid}: {len(ids)} times" for uid, ids in found.items() if len(ids) != 1))
    checks.add(f"{where}: pos: nothing else", (uid for uid in found if uid not in expected))


def check_all(checks, book, query, where):
    for stream in ("web", "orders"):
        check_stream(checks, book, stream, stream_rows(query, stream), where)
    if book.files:
        check_landing(checks, book, query("SELECT transaction_id AS uid, _event_id::VARCHAR AS id FROM bronze.pos"), where)
