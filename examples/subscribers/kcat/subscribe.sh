#!/usr/bin/env bash
# Prints one JSON line for each ready event. README.md lists the environment variables.
#
# kcat joins no group here. As a member of a group (`kcat -G`), it can commit the offset of an event
# that it has not printed when a signal stops it.
set -euo pipefail

bootstrap_servers=${BOOTSTRAP_SERVERS:-localhost:9092}
topic=${TOPIC:-fine-tuning.checkpoint-ready}
isolation_level=${ISOLATION_LEVEL:-read_committed}
start=${START:-beginning}

cluster=(-b "$bootstrap_servers")
if [[ -n ${KAFKA_PROPERTIES_FILE:-} ]]; then cluster+=(-F "$KAFKA_PROPERTIES_FILE"); fi
options=(-t "$topic" -o "$start" -X fetch.wait.max.ms=20)
case $isolation_level in
    # The default of librdkafka too. With read_uncommitted, kcat also prints events of aborted
    # transactions, which are published again later.
    read_committed | read_uncommitted) options+=(-X "isolation.level=$isolation_level") ;;
    client_default) ;;
    *) echo "ISOLATION_LEVEL is '$isolation_level', but must be read_committed" >&2; exit 2 ;;
esac

# All topics, because a request for one topic can create it.
if ! topics=$(kcat -L -J "${cluster[@]}" -m 5); then
    echo "no broker is reachable at $bootstrap_servers, or it refused the login" >&2
    exit 1
fi
if ! jq -e --arg topic "$topic" 'any(.topics[]; .topic == $topic)' >/dev/null <<<"$topics"; then
    echo "the topic $topic does not exist, or this user may not read it" >&2
    exit 1
fi

# jq ignores Ctrl-C: it ends after it has printed everything that kcat has read.
exec {lines}> >(trap '' INT; exec jq --unbuffered --compact-output --raw-input --from-file "$(dirname "$0")/line.jq")
jq_process=$!
# -J: one JSON object for each record. -q: no messages about partitions. -u: no buffer.
kcat -C "${cluster[@]}" "${options[@]}" -q -u -J >&"$lines" &
kcat_process=$!
trap 'kill -TERM "$kcat_process" 2>/dev/null || true' TERM INT
exec {lines}>&-

# A signal ends `wait`, but kcat ends later.
status=0
wait "$kcat_process" || status=$?
while kill -0 "$kcat_process" 2>/dev/null; do
    status=0
    wait "$kcat_process" || status=$?
done
wait "$jq_process"
exit "$status"
