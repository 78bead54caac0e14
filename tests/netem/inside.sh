#!/usr/bin/env bash
# Measures every delay under netem, on the loopback device of wherever it runs: a network namespace, or a guest.
#
#   inside.sh PROGRAM DIRECTORY
set -euo pipefail
program=$1 out=$2

uname -r > "$out/kernel"
ip link set lo up
timeout 30 "$program" measure plain none > "$out/none"
"$program" sets > "$out/sets"
while read -r name netem; do
  # The default limit of 1,000 packets would drop what is more than that on its way.
  # shellcheck disable=SC2086
  tc qdisc replace dev lo root netem limit 10000 $netem
  timeout 30 "$program" measure plain "$name" < /dev/null > "$out/$name"
done < "$out/sets"
