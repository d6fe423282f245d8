#!/bin/sh
# Puts one finished WAL segment into the archive: archive-wal.sh SEGMENT TARGET
# Called by PostgreSQL (archive_command), which keeps the segment and calls again until this succeeds.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: archive-wal.sh SEGMENT TARGET" >&2
    exit 2
fi
segment=$1
target=$2
if [ -e "$target" ]; then
    # After a crash PostgreSQL may archive a segment again: the same one is fine, another one never is.
    cmp -s "$segment" "$target" && exit 0
    echo "archive-wal.sh: $target is there already and is another segment" >&2
    exit 1
fi
cp "$segment" "$target.part"
sync "$target.part"
mv "$target.part" "$target"
sync "$(dirname "$target")"
