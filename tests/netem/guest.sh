#!/usr/bin/env bash
# The first process of the guest: loads netem, measures, says how that went, and powers the guest off.
#
#   guest.sh MODULE PROGRAM DIRECTORY
set -u
module=$1 program=$2 out=$3

measure() {
  mount -t sysfs sysfs /sys &&
    # All else of the host's files can only be read.
    mount -t hostfs -o "$out" hostfs "$out" &&
    insmod "$module" &&
    "$(dirname "${BASH_SOURCE[0]}")/inside.sh" "$program" "$out"
}

mount -t proc proc /proc
measure
echo $? > "$out/status"
echo o > /proc/sysrq-trigger
# The kernel panics if its first process ends before the power is off.
sleep 60
