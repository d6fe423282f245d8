#!/bin/sh
# Copies a running PostgreSQL's files and verifies the copy: base-backup.sh FOLDER
# Connects as psql would (PGHOST, PGPORT, PGUSER, PGPASSFILE); the role needs REPLICATION. Prints the copy's folder.
set -eu
if [ $# -ne 1 ]; then
    echo "usage: base-backup.sh FOLDER" >&2
    exit 2
fi
copy=$1/$(date -u +%Y%m%dT%H%M%SZ)
if [ -e "$copy" ]; then
    echo "base-backup.sh: $copy is there already" >&2
    exit 1
fi
mkdir -p "$1"
pg_basebackup --pgdata="$copy" --wal-method=stream --checkpoint=fast --manifest-checksums=SHA256 --no-password >&2
pg_verifybackup --quiet "$copy" >&2
echo "$copy"
