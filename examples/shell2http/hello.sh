#!/bin/sh
echo "this script was started by a request, in $(basename "$0")"
