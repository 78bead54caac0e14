#!/usr/bin/env bash
# Breaks the checker on purpose and shows that its tests notice.
#
#   tests/ledger_model/breakages.sh            the list below, one after the other
#   tests/ledger_model/breakages.sh mutants …  cargo-mutants instead, with these arguments
#
# The ledger depends on almost nothing, so it is copied into a crate of its own, which builds in a second or two.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=${SCRATCH:-$(mktemp -d)}
export PROPTEST_CASES=${PROPTEST_CASES:-64} RUST_BACKTRACE=0

copy() {
  rm -rf "$scratch/src"
  mkdir -p "$scratch/src/ledger_model" "$scratch/src/report"
  cp -r "$root/src/ledger" "$scratch/src/"
  cp "$root/tests/ledger_model.rs" "$scratch/src/"
  cp "$root/tests/ledger_model/model.rs" "$scratch/src/ledger_model/"
  sed -i '/^#\[path = /d' "$scratch/src/ledger_model.rs"
  cp "$root/Cargo.lock" "$root/rust-toolchain.toml" "$scratch/"
  # Two structs of the report and one enum are all that the ledger knows of other modules.
  awk '/^pub struct (Ledger|Example) \{/ { print "#[derive(Debug, Clone, Default, PartialEq)]" }
       /^pub struct (Ledger|Example) \{/, /^}/ { if ($0 !~ /^ *#\[/) print }' \
    "$root/src/report/model/delivery.rs" > "$scratch/src/report/model.rs"
  cat > "$scratch/src/lib.rs" <<'RUST'
pub mod ledger;
pub mod scenarios {
    pub mod target {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Contract { AtMostOnce, AtLeastOnce, ExactlyOnce }
    }
}
pub mod report {
    pub mod model;
}
#[cfg(test)]
extern crate self as stressctl;
#[cfg(test)]
mod ledger_model;
RUST
  cat > "$scratch/Cargo.toml" <<'TOML'
[package]
name = "stressctl"
version = "0.1.0"
edition = "2024"

[lib]
doctest = false

[dependencies]
thiserror = "2"
xxhash-rust = { version = "0.8.19", features = ["xxh3"] }

[dev-dependencies]
proptest = "1.12.0"

[profile.dev]
debug = false

[profile.dev.package."*"]
opt-level = 1

[workspace]
TOML
}

copy
cd "$scratch"
if [ "${1:-}" = mutants ]; then
  shift
  exec cargo mutants --in-place --no-shuffle --cargo-test-arg=--lib "$@"
fi

cargo test --quiet --lib > "$scratch/log" 2>&1 || { cat "$scratch/log"; echo "the tests fail without a breakage"; exit 1; }
caught=0 missed=0

# What is broken, in which file, and how: a Perl substitution that must change something.
breaks() {
  local what=$1 file=src/ledger/$2 how=$3
  cp "$file" "$scratch/kept"
  perl -0pi -e "$how" "$file"
  if cmp -s "$file" "$scratch/kept"; then
    echo "STALE   $what: nothing to substitute in $file"
    missed=$((missed + 1))
  elif timeout 300 cargo test --quiet --lib > "$scratch/log" 2>&1; then
    echo "MISSED  $what"
    missed=$((missed + 1))
  elif grep -q '^error' "$scratch/log" && ! grep -q '^test result' "$scratch/log"; then
    echo "STALE   $what: does not compile"
    missed=$((missed + 1))
  else
    echo "caught  $what ($(grep -c '^test .*FAILED\|^    [a-z_:]*$' "$scratch/log" || true) tests)"
    caught=$((caught + 1))
  fi
  cp "$scratch/kept" "$file"
}

breaks "duplicates are ignored" receive.rs \
  's/Duplicate => return Receipt::Duplicated/Duplicate => return Receipt::First { reordered: false, late: false, owed: false }/'
breaks "a gap counts as delivered" book.rs 's/gaps\.capped = gaps\.capped \|\| !gaps\.missing\.open\(gap, &window, room\);//'
breaks "what is missing is not classed" close.rs 's/cell\.add\(class\);//'
breaks "reordered is counted as lost" receive.rs 's/match arrival \{/match arrival {\n            Some(Arrival::Here) if reordered => counts.add(Class::LostProven),/'
breaks "reordered is not noticed" receive.rs 's/First \{ reordered \} => reordered && .*?,\n/First { .. } => false,\n/'
breaks "reordered is strange where no order is promised" counts.rs 's/if ordered \{ self\.reordered \}/if true { self.reordered }/'
breaks "missed_disconnected is a loss whatever the contract" classes.rs 's/Self::MissedDisconnected => contract != Contract::AtMostOnce/Self::MissedDisconnected => true/'
breaks "missed_disconnected is a loss under no contract" classes.rs 's/Self::MissedDisconnected => contract != Contract::AtMostOnce/Self::MissedDisconnected => false/'
breaks "duplicates are strange whatever the contract" counts.rs 's/if contract == Contract::AtLeastOnce \{ 0 \} else/if false { 0 } else/'
breaks "evidence across epochs" audit.rs 's/epochs\.pop\(\);/epochs.clear();/'
breaks "evidence that arrives late across epochs" lives.rs 's/let older = self\.older\.get_mut\(&index\)/let older = None::<&mut OlderEpochs>/'
breaks "evidence from a later incarnation" audit.rs 's/acked_end, long_acked, high, left/acked_end, long_acked, high: NEVER, left/'
breaks "a token of another epoch is known" receive.rs 's/\n\s*&& token\.epoch == roster\.epoch_of\(stream, token\.seq\)//'
breaks "a barrier of another epoch is accepted" barriers.rs 's/\n\s*&& token\.epoch == roster\.epoch_of\(stream, published\)//'
breaks "a barrier that is not the end of its stream is accepted" barriers.rs 's/\n\s*&& token\.seq == published//'
breaks "a barrier proves the epochs before its own" audit.rs 's/ && roster\.epoch_end\(stream, end - 1\) == NEVER//'
breaks "a barrier that was given up does not matter" classes.rs 's/lived_on: true, barrier_given_up: false, \.\./lived_on: true, ../'
breaks "a barrier is remembered by the next incarnation" audit.rs 's/self\.forget_barriers\(sub\);//'
breaks "damaged counts as delivered" receive.rs 's/Found::Damaged\(token\) => self\.note_damage\(sub, token\)/Found::Damaged(token) => self.judge(sub, token, recv_ns, phase, false)/'
breaks "damaged counts as never arrived" receive.rs 's/self\.damaged\.insert\(\(sub, stream, token\.seq\)\);//'
breaks "late counts as delivered" receive.rs 's/if late => counts\.add\(Class::Late\)/if late => counts.add(Class::Delivered)/'
breaks "lateness counts from sending" receive.rs 's/recv_ns\.saturating_sub\(token\.due_ns\)/recv_ns.saturating_sub(token.sent_ns)/'
breaks "arrivals after an unsubscribe are accepted" receive.rs 's/return Receipt::AfterUnsubscribe/return Receipt::Duplicated/'
breaks "arrivals are refused before the unsubscribe was answered" audit.rs 's/soft: NEVER, hard: left/soft: left, hard: left/'
breaks "a memory cap passes silently" close.rs 's/unaccounted: \(book[\s\S]*?,\n/unaccounted: false,\n/'
breaks "a receipt beyond the cap is a first one" receive.rs 's/Unverified => return Receipt::Unverified/Unverified => false/'
breaks "absent counts as live" close.rs 's/Stretch::Absent => missed\.life = Life::Absent/Stretch::Absent => missed.lived_on = true/'
breaks "in flight at the renewal counts as live" close.rs 's/Stretch::Starting\(_\) => missed\.life = Life::Starting/Stretch::Starting(_) => missed.lived_on = true/'
breaks "in flight at the end counts as live" close.rs 's/missed\.life = Life::Ending;//'
breaks "a cut excuses a hole before something later" close.rs 's/!missed\.lived_on && !missed\.later_arrived/!missed.lived_on/'
breaks "a death excuses as a cut does" close.rs 's/past\.life\.how == End::Cut/true/'
breaks "a replay counts as delivered" receive.rs 's/Arrival::Here \} else \{ Arrival::Later/Arrival::Here } else { Arrival::Here/'
breaks "what is not owed counts as delivered" receive.rs 's/if !self\.lives\.is_owed\(sub, slot, seq\) \{\s*return None;\s*\}//'
breaks "members that are away are not owed anything" audit.rs 's/let end = if leaves/let end = if true/'
breaks "an unacknowledged publish is a loss" close.rs 's/acknowledged: facts\.acknowledged\(stream, seq\)/acknowledged: true/'
breaks "another channel is accepted" receive.rs 's/return Receipt::Misrouted/return Receipt::Duplicated/'
breaks "another run is accepted" receive.rs 's/token\.run == self\.config\.run\s*&& //'
breaks "an event that was never published is accepted" receive.rs 's/\n\s*&& token\.seq < roster\.published\(stream\)//'
breaks "the quiet period is not needed" lives.rs 's/lived_on: now\.lived_on/lived_on: true/'
breaks "what comes late under an earlier operation is recovered" receive.rs 's/let holder = if earlier \{/let holder = if false {/'
breaks "what comes late under an earlier operation proves nothing" receive.rs 's/self\.lives\.raise_in\(life, slot, seq\);//'
breaks "memberships are settled of which something is missing" settled.rs 's/== 0\n        \}\)/< 3\n        })/'
breaks "no membership is ever settled" settled.rs 's/kept > RECENT && self/false \&\& self/'
breaks "books never forget" settled.rs 's/self\.forget_books\(sub\);//'
breaks "what is forgotten is not counted" settled.rs 's/self\.count_now\(sub, oldest\);//'
breaks "what is forgotten is all excused" settled.rs 's/ours && lived\.contains\(&seq\) && !past\.later_arrived\(seq\)/true/'
breaks "what was forgotten is new" book.rs 's/seq < gaps\.floor/false \&\& seq < gaps.floor/'
breaks "a cut behind an unsubscribe excuses nothing" lives.rs 's/life\.how = End::Cut;//'
breaks "a sum is not checked" sums.rs 's/if receipts != classed/if false/'
echo "$caught caught, $missed missed or stale"
[ "$missed" = 0 ]
