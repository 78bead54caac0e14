//! What `--defect` plants, as a plain client sees it: exactly the wrong thing, exactly as often as `GET /defects`
//! says, and nothing on the channels beside.

#![allow(clippy::unwrap_used, reason = "in a test that is a failure")]

#[path = "../common/mod.rs"]
mod common;
mod deliveries;
mod lives;
mod others;
mod returns;
mod scene;

use common::binary::Stressctl;
use common::reference::{Client, get, http, options, with_server};
use scene::{defective, payload, truths};
use serde_json::json;
use stressctl::server::{Defect, ServeError, ServeOptions, Server};

#[test]
fn an_honest_server_has_planted_nothing() {
    with_server(&options(), async |addr| {
        assert_eq!(get(addr, "/defects").await, (200, "[]".into()));
        assert_eq!(http(addr, "PUT /defects HTTP/1.0\r\n\r\n").await.0, 405);
    });
}

#[test]
fn every_kind_is_described() {
    let described = include_str!("../../docs/defects.md");
    for kind in Defect::kinds() {
        assert!(described.contains(&format!("\n| `{kind}`")), "docs/defects.md has no row for {kind}");
    }
}

#[test]
fn the_truth_names_what_was_asked_for() {
    with_server(&defective(&["drop=every=3,channels=17", "duplicate"]), async |addr| {
        let fresh = |kind: &str, parameters: &str| json!({ "kind": kind, "parameters": parameters, "planted": 0, "deliveries": 0, "channels": {} });
        assert_eq!(truths(addr).await, [fresh("drop", "every=3,channels=17"), fresh("duplicate", "")]);
    });
}

#[test]
fn many_defects_each_strike_on_their_own_channels() {
    let defects = ["drop=times=2,channels=1", "duplicate=times=3,channels=2", "corrupt-filler=channels=3-4"];
    with_server(&defective(&defects), async |addr| {
        let mut client = Client::new(addr).await;
        for channel in 1..=5 {
            client.subscribe(&format!("{channel}"), &format!("c-{channel}")).await;
        }
        client.settle().await;
        let mut publisher = Client::new(addr).await;
        for n in 0..10 {
            for channel in 1..=5 {
                publisher.publish(&format!("c-{channel}"), &payload(n)).await;
            }
        }
        let mut counts = [0; 6];
        for _ in 0..51 {
            let id = client.next().await["id"].as_str().unwrap().parse::<usize>().unwrap();
            counts[id] += 1;
        }
        client.settle().await;
        assert_eq!(counts, [0, 8, 13, 10, 10, 10]);
        let channels = truths(addr).await.into_iter().map(|truth| truth["channels"].clone());
        let expected = [json!({ "1": 2 }), json!({ "2": 3 }), json!({ "3": 1, "4": 1 })];
        assert_eq!(channels.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn defects_never_leave_this_machine() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (listen, allow_remote) in [("0.0.0.0:0", false), ("0.0.0.0:0", true), ("[::]:0", true)] {
            let listen = listen.parse().unwrap();
            let options = ServeOptions { listen, allow_remote, ..defective(&["drop"]) };
            let refused = Server::bind(&options).await.unwrap_err();
            assert!(matches!(refused, ServeError::Defective { .. }), "{refused}");
        }
    });
    let remote = ["serve", "--listen", "0.0.0.0:0", "--allow-remote", "--defect", "drop"];
    Stressctl::new(&remote).finish().exits(2).says("a loopback address only");
    let unknown = ["serve", "--listen", "127.0.0.1:0", "--defect", "dorp=times=1"];
    Stressctl::new(&unknown).finish().exits(2).says("did you mean `drop`?");
}
