#!/bin/sh
# Makes a data directory of a base backup and archived WAL: restore-to.sh BASE WAL NEW_DATA_DIR MOMENT
# MOMENT is a time with its zone ('2026-11-21 14:05:00+00'), the last that is kept, or `latest` for all that was archived.
# Nothing is started and nothing that is there is overwritten.
set -eu
if [ $# -ne 4 ]; then
    echo "usage: restore-to.sh BASE WAL NEW_DATA_DIR MOMENT|latest" >&2
    exit 2
fi
base=$1
wal=$(cd "$2" && pwd)
data=$3
moment=$4
if [ -e "$data" ]; then
    echo "restore-to.sh: $data is there already: name a folder that is not" >&2
    exit 1
fi
case $wal$moment in
*\'* | *\\*)
    echo "restore-to.sh: a path or time with a quote or backslash cannot be written into the configuration" >&2
    exit 2
    ;;
esac
pg_verifybackup --quiet "$base"
cp -a "$base" "$data"
chmod 700 "$data"
{
    echo "restore_command = 'cp \"$wal/%f\" \"%p\"'"
    echo "recovery_target_action = 'promote'"
    if [ "$moment" != latest ]; then
        echo "recovery_target_time = '$moment'"
    fi
    # The archive of before must not be written to by another history of the same log.
    echo "archive_mode = off"
} >>"$data/postgresql.auto.conf"
: >"$data/recovery.signal"
echo "restored to $data; start it: pg_ctl -D $data -w -t 3600 start" >&2
