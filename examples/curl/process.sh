#!/bin/sh
# Runs a command through the process door and writes what it says as it comes, byte for byte.
#
#   URL=http://127.0.0.1:8910 TOKEN=... sh process.sh '{"alias": "build", "cmd": "make", "args": ["-j2"]}'
#
# Ctrl-C closes the connection, which kills the command with all that it has started.
# Exit status: 22 when it was refused, 18 when something of the output is missing.
set -eu

: "${URL:?where the daemon listens}" "${TOKEN:?what may run the command}"

# The token comes from a pipe: arguments can be read by everybody on the machine.
printf 'Authorization: Bearer %s' "$TOKEN" |
    curl --silent --show-error --fail-with-body --no-buffer --header @- \
        --header 'Content-Type: application/json' --data "$1" "$URL/process"
