"""Tables and JSON lines in UTF-16, as some systems redirect what a job prints."""

from __future__ import annotations

from pathlib import Path

from trajhmm.logs.formats.delimited import read_csv, read_some_csv, read_some_tsv, read_tsv
from trajhmm.logs.formats.encodings import utf16_of, wide_lines, widened
from trajhmm.logs.formats.format import Format, Growth, itself_or_folder
from trajhmm.logs.formats.headings import heading_end
from trajhmm.logs.formats.jsonlines import read_jsonlines


def _is_utf16(_path: Path, head: bytes) -> bool:
    return utf16_of(head) is not None


WIDE_CSV = Format(
    name="csv-utf16",
    title="CSV in UTF-16",
    names=r"\.csv(\.gz)?",
    read=read_csv,
    takes=_is_utf16,
    growth=Growth(read=read_some_csv, header=widened(heading_end), cut=wide_lines, by_line=False),
    home=itself_or_folder,
)
WIDE_TSV = Format(
    name="tsv-utf16",
    title="TSV in UTF-16",
    names=r"\.tsv(\.gz)?",
    read=read_tsv,
    takes=_is_utf16,
    growth=Growth(read=read_some_tsv, header=widened(heading_end), cut=wide_lines, by_line=False),
    home=itself_or_folder,
)
# An object tells where it ends, so that lines may be read as a whole whenever there are more.
WIDE_JSON_LINES = Format(
    name="jsonl-utf16",
    title="JSON lines in UTF-16",
    names=r"\.(jsonl|ndjson)(\.gz)?",
    read=read_jsonlines,
    takes=_is_utf16,
    home=itself_or_folder,
)
