"""Reads files as they came: CSV in any dialect the feeds use, NDJSON, JSON, Parquet. Written from docs/landing.md, not from Cupel's code.

rows(content, name, encoding) gives (number, fields, problem) for each record, numbers from 1 without header and blank lines: fields maps lower-case column
names to text or None; where problem is set the record is one that the reader puts into quarantine (fields is None).
"""

import gzip
import io
import json
import re
from decimal import Decimal

LINE_END = re.compile(r"\r\n|\n|\r")


class Rejected(Exception):
    """The file as a whole cannot be read."""


def rows(content, name="", encoding=None):
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if content[:4] == b"PAR1":
        return parquet_rows(content)
    decoded = decode(content, encoding)
    plain = re.sub(r"\.(gz|\d+)$", "", name)
    if plain.endswith((".ndjson", ".jsonl")):
        return ndjson_rows(decoded)
    if plain.endswith(".json"):
        return json_rows(decoded)
    return csv_rows(decoded)


def decode(content, encoding):
    """Text of the file. With `encoding` given, bytes that mean nothing become lone surrogates and spoil only their record."""
    for mark, codec in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if content.startswith(mark):
            return content[len(mark) :].decode(codec)
    if encoding:
        return content.decode(encoding, "surrogateescape")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(str(error)) from None


def spoilt(piece):
    return any("\udc80" <= c <= "\udcff" for c in piece)


def csv_rows(decoded):
    lines = [line for line in LINE_END.split(decoded) if line]
    if not lines:
        raise Rejected("nothing in it")
    delimiter = max(",;\t|", key=lines[0].count)
    records = csv_records(lines, delimiter)
    header = [column.strip().lower() for column in next(records)]
    for number, record in enumerate(records, 1):
        if record is None:
            yield number, None, "its quotes do not fit"
        elif len(record) != len(header):
            yield number, None, f"expected {len(header)} fields, found {len(record)}"
        elif any(map(spoilt, record)):
            yield number, None, "bytes that mean nothing in its encoding"
        else:
            yield number, dict(zip(header, record)), None


def csv_records(lines, delimiter):
    """Lists of cells; None for a record whose quotes do not fit, which ends with its first line."""
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if '"' not in line:
            yield line.split(delimiter)
            continue
        cells, used = quoted_cells(lines, at - 1, delimiter)
        if cells is not None:
            at = used
        yield cells


def quoted_cells(lines, at, delimiter):
    """(cells of the record that begins in line `at`, the line after it), or (None, None). A cell is either quoted as a whole or has no quotes at its start."""
    cells, rest = [], lines[at]
    while True:
        if not rest.startswith('"'):
            cell, found, rest = rest.partition(delimiter)
            cells.append(cell)
        else:
            rest = rest[1:]
            while not re.match(r'(?:[^"]|"")*"(?!")', rest):  # the cell goes on in the next line
                at += 1
                if at == len(lines):
                    return None, None
                rest += "\n" + lines[at]
            end = re.match(r'(?:[^"]|"")*"(?!")', rest).end()
            cells.append(rest[: end - 1].replace('""', '"'))
            rest = rest[end:]
            if rest and not rest.startswith(delimiter):
                return None, None
            found, rest = rest[:1], rest[1:]
        if not found:
            return cells, at + 1


def json_value(value):
    """As text: numbers as written, nested values as their JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def not_json(constant):
    raise ValueError(f"{constant} is no JSON")


def parse_json(piece):
    """Numbers stay the text that stood there."""
    return json.loads(piece, parse_float=str, parse_int=str, parse_constant=not_json)


def json_fields(parsed):
    if not isinstance(parsed, dict):
        return None
    return {key.strip().lower(): json_value(value) for key, value in parsed.items()}


def ndjson_rows(decoded):
    number = 0
    for line in LINE_END.split(decoded):
        if not line.strip():
            continue
        number += 1
        try:
            fields = None if spoilt(line) else json_fields(parse_json(line))
        except ValueError:
            fields = None
        yield number, fields, None if fields is not None else "not a JSON object"


def json_rows(decoded):
    """One object, an array of objects, or objects one after the other."""
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=not_json)
    found, at = [], 0
    decoded = decoded.strip()
    while at < len(decoded):
        try:
            value, at = decoder.raw_decode(decoded, at)
        except ValueError as error:
            raise Rejected(str(error)) from None
        found += value if isinstance(value, list) else [value]
        while at < len(decoded) and decoded[at] in " \t\r\n,":
            at += 1
    for number, value in enumerate(found, 1):
        fields = json_fields(value)
        yield number, fields, None if fields is not None else "not a JSON object"


def parquet_text(value):
    if value is None or isinstance(value, str):
        return value
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def parquet_rows(content):
    import pyarrow.parquet

    for number, row in enumerate(pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist(), 1):
        yield number, {key.strip().lower(): parquet_text(value) for key, value in row.items()}, None
