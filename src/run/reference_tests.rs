//! A shell script stands in for the server.

use super::*;
use crate::clock;

const LISTENS: &str = "echo 'listening on ws://127.0.0.1:4321/graphql'";

async fn script(text: &str) -> Result<Reference, ReferenceError> {
    Reference::start(Path::new("/bin/sh"), ["-c", text]).await
}

/// Whether a process has this id; a child that was not waited for still has one.
fn exists(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

async fn vanishes(pid: u32) {
    let start = clock::now();
    while exists(pid) {
        assert!(start.elapsed() < Duration::from_secs(5), "{pid} was left behind");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn it_says_where_it_listens_and_leaves_when_told() {
    let mut server = script(&format!("echo starting; {LISTENS}; cat >/dev/null; exit 7")).await.unwrap();
    assert_eq!(server.url(), "ws://127.0.0.1:4321/graphql");
    assert!(server.alive());
    let pid = server.pid();
    assert!(exists(pid));
    assert_eq!(server.stop().await.unwrap().code(), Some(7));
    assert!(!exists(pid));
}

#[tokio::test]
async fn it_has_a_process_group_of_its_own() {
    let server = script(&format!("{LISTENS}; cat >/dev/null")).await.unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let group = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap();
    assert_eq!(group, server.pid().to_string());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_does_not_leave_is_killed() {
    // `exec`, so that no grandchild keeps the pipes.
    let server = script(&format!("{LISTENS}; exec sleep 60")).await.unwrap();
    let start = clock::now();
    assert_eq!(server.stop().await.unwrap().code(), None, "killed");
    assert!(start.elapsed() >= LEAVE_WITHIN);
}

#[tokio::test]
async fn dropping_it_leaves_nothing_behind() {
    let server = script(&format!("{LISTENS}; exec sleep 60")).await.unwrap();
    let pid = server.pid();
    drop(server);
    vanishes(pid).await;
}

#[tokio::test]
async fn one_that_dies_is_seen_to_be_dead() {
    let mut server = script(&format!("{LISTENS}; read line; echo 'out of luck' >&2")).await.unwrap();
    drop(server.stdin.take());
    let start = clock::now();
    while server.alive() || server.last_words().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.last_words(), "out of luck");
}

#[tokio::test]
async fn one_that_leaves_early_is_quoted() {
    let error = script("echo one >&2; printf 'cannot bind\\033[2J' >&2; exit 1").await.unwrap_err();
    assert_eq!(error.to_string(), "the reference server left before it listened: one; cannot bind\\u{1b}[2J");
    let error = script("exit 1").await.unwrap_err();
    assert_eq!(error.to_string(), "the reference server left before it listened");
}

#[tokio::test]
async fn an_odd_address_and_a_missing_program_are_named() {
    let error = script("echo 'listening on a star'; cat").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the reference server said `listening on a star` instead of where it listens"
    );
    let error = Reference::start(Path::new("/nonexistent/server"), [""; 0]).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot start the reference server /nonexistent/server");
}

#[tokio::test]
async fn one_that_talks_a_lot_is_read_and_not_kept() {
    let talk = "i=0; while [ $i -lt 3000 ]; do echo 'this is line number' $i; i=$((i+1)); done";
    let server = script(&format!("{LISTENS}; {talk}; {talk} >&2; cat >/dev/null; exit 5")).await.unwrap();
    let tail = server.tail.clone();
    assert_eq!(server.stop().await.unwrap().code(), Some(5), "it did not wait for a full pipe");
    assert!(tail.bytes.lock().unwrap().len() <= TAIL_MAX);
}

#[tokio::test(start_paused = true)]
async fn silence_has_a_deadline() {
    // The clock is paused: it jumps to the deadline as soon as nothing else is under way.
    let error = script("exec sleep 60").await.unwrap_err();
    assert_eq!(error.to_string(), "the reference server did not listen within 10s");
}

#[test]
fn the_tail_keeps_the_end() {
    let tail = Tail::default();
    tail.push(&vec![b'x'; TAIL_MAX]);
    tail.push(b"\nthe end\n");
    assert_eq!(tail.bytes.lock().unwrap().len(), TAIL_MAX);
    assert_eq!(tail.shown(), "the end");
}
