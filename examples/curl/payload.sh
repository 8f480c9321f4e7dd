#!/bin/sh
# Gives a command to the payload door, waits until it has ended, and prints what became of it.
#
#   URL=http://127.0.0.1:8866 TOKEN=... sh payload.sh '{"cmd": "make", "params": ["-j2"]}'
#
# Exit status: 22 when it was refused, whatever curl's is when the daemon cannot be reached.
set -eu

: "${URL:?where the daemon listens}" "${TOKEN:?what may run the command}"

# The token comes from a pipe: arguments can be read by everybody on the machine.
ask() {
    answer=$(printf 'Authorization: Bearer %s' "$TOKEN" | curl --silent --show-error --fail-with-body --header @- "$@") &&
        return
    status=$?
    printf '%s\n' "$answer" >&2
    exit "$status"
}

ask --data "$1" "$URL/payloads"
id=$(printf '%s\n' "$answer" | sed -n 's/^    "id": "\(.*\)",$/\1/p')
while :; do
    ask "$URL/payloads/$id"
    case $answer in
        *'"state": "pending"'* | *'"state": "working"'*) sleep 0.2 ;;
        *) break ;;
    esac
done
printf '%s\n' "$answer"
