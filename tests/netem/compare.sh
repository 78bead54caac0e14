#!/usr/bin/env bash
# Compares the injector's link delay with the Linux kernel's own, netem, over loopback.
#
#   tests/netem/compare.sh            measures both and prints the quartiles side by side
#   tests/netem/compare.sh --probe    only says where netem would be: kernel or uml
#   … --program PROGRAM               what measures and judges: the test binary `netem`; built if it is not given
#
# netem is the running kernel's, in a network namespace of its own, or else that of Debian's user-mode-linux: a kernel
# that boots as an ordinary process, with this machine's files to read. Exits with 0 if they agree, with 77 where there
# is neither, with anything else if they do not agree or could not be measured. With STRESSCTL_BLESS=1 the table is also
# added to RESULTS.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Debian keeps tc, ip and insmod where only root looks.
PATH=$PATH:/usr/sbin:/sbin
# Seconds for all that is measured under netem; it takes 35.
limit=60

namespace=(unshare --net)
[ "$(id -u)" = 0 ] || namespace+=(--map-root-user)

# Sets `by` to where netem is, or says what is missing.
find_netem() {
  local missing=()
  command -v tc > /dev/null && command -v ip > /dev/null || missing+=(iproute2)
  if [ ${#missing[@]} = 0 ] && "${namespace[@]}" tc qdisc add dev lo root netem delay 1ms 2> /dev/null; then
    by=kernel
    return
  fi
  command -v linux.uml > /dev/null || missing+=(user-mode-linux)
  command -v insmod > /dev/null || missing+=(kmod)
  if [ ${#missing[@]} != 0 ]; then
    echo "no netem in this kernel, and to boot one that has it needs: ${missing[*]}" >&2
    exit 77
  fi
  module=/usr/lib/uml/modules/$(linux.uml --version)/kernel/net/sched/sch_netem.ko
  if [ ! -e "$module" ]; then
    echo "no netem in this kernel, and user-mode-linux comes without $module" >&2
    exit 77
  fi
  by=uml
}

# Boots the guest and waits until it has powered itself off.
boot() {
  local init=$work/init console=$work/console tenths=0
  printf '#!/bin/bash\nexport PATH=%q\nexec %q %q %q %q\n' \
    "$PATH" "$here/guest.sh" "$module" "$program" "$work/netem" > "$init"
  chmod +x "$init"
  linux.uml umid=netem uml_dir="$work/uml" mem=256M rootfstype=hostfs ro init="$init" \
    con=null con0=null,fd:1 < /dev/null > "$console" 2>&1 &
  guest=$!
  while kill -0 "$guest" 2> /dev/null && [ $((tenths += 1)) -le $((limit * 10)) ]; do sleep 0.1; done
  end_guest
  if [ "$(cat "$work/netem/status" 2> /dev/null)" != 0 ]; then
    tail -n 40 "$console" >&2
    echo "the guest did not measure within $limit s; above is the end of what its console said" >&2
    exit 1
  fi
}

# Ends the guest if it still runs. Asked, it takes its helper processes along; they are of its process group.
end_guest() {
  [ -n "$guest" ] || return 0
  local tenths=0
  kill "$guest" 2> /dev/null || true
  while kill -0 "$guest" 2> /dev/null && [ $((tenths += 1)) -le 30 ]; do sleep 0.1; done
  kill -KILL -- "-$guest" "$guest" 2> /dev/null || true
  guest=''
}

# What is measured on this machine, through the injector.
inject() {
  timeout 30 "$program" measure plain none > "$work/injector/none"
  "$program" sets > "$work/injector/sets"
  while read -r name _; do
    timeout 30 "$program" measure injected "$name" < /dev/null > "$work/injector/$name"
  done < "$work/injector/sets"
}

build() {
  (cd "$here" && cargo test --quiet --locked --test netem --no-run --message-format=json) |
    sed -n 's/.*"name":"netem".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

heading() {
  local kernel
  kernel="Linux $(cat "$work/netem/kernel")"
  [ "$by" = kernel ] || kernel+=" (user-mode-linux)"
  printf '\n## %s\n\nnetem: %s. Injector: Linux %s, %s processors.\n\n' \
    "$(date -u '+%-d %B %Y, %H:%M UTC')" "$kernel" "$(uname -r)" "$(nproc)"
}

only_probe='' program=''
while [ $# -gt 0 ]; do
  case $1 in
    --probe) only_probe=1 ;;
    --program) program=${2:?--program needs a path} && shift ;;
    *) echo "compare.sh: unknown argument $1" >&2 && exit 2 ;;
  esac
  shift
done

find_netem
if [ -n "$only_probe" ]; then
  echo "$by"
  exit
fi
[ -n "$program" ] || program=$(build)

work=$(mktemp -d)
guest=''
trap 'end_guest; rm -rf "$work"' EXIT
mkdir "$work/netem" "$work/injector"

inject
case $by in
  kernel) timeout --kill-after=5 "$limit" "${namespace[@]}" "$here/inside.sh" "$program" "$work/netem" ;;
  uml) boot ;;
esac

agreed=0
"$program" judge "$work" > "$work/table" 2> "$work/reason" || agreed=$?
{ heading; cat "$work/table"; } > "$work/result"
cat "$work/result"
cat "$work/reason" >&2
[ -z "${STRESSCTL_BLESS:-}" ] || cat "$work/result" >> "$here/RESULTS.md"
exit "$agreed"
