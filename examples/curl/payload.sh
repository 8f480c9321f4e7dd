#!/bin/sh
# Gives a command to the payload door, waits until it has ended, and prints what became of it.
#
#   URL=http://127.0.0.1:8866 TOKEN=... sh payload.sh '{"cmd": "make", "params": ["-j2"]}'
set -eu

: "${URL:?where the daemon listens}" "${TOKEN:?what may run the command}"

# The token comes from a pipe: arguments can be read by everybody on the machine.
ask() {
    printf 'Authorization: Bearer %s' "$TOKEN" | curl --silent --show-error --fail-with-body --header @- "$@"
}

id=$(ask --data "$1" "$URL/payloads" | sed -n 's/^    "id": "\(.*\)",$/\1/p')
while payload=$(ask "$URL/payloads/$id"); do
    case $payload in
        *'"state": "pending"'* | *'"state": "working"'*) sleep 0.2 ;;
        *) break ;;
    esac
done
printf '%s\n' "$payload"
