//! A client made of the WebSocket library as it comes: what its default buffers cost in memory.
//!
//! It runs in a child process of its own (this program, with [`FLAG`]), because memory is counted by process.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::children::Server;
use crate::proc;

pub(crate) const FLAG: &str = "--scratch-client";

/// Bytes per connection.
pub(crate) fn measure(connections: u32) -> anyhow::Result<f64> {
    let server = Server::start()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([FLAG.to_owned(), format!("ws://{}/graphql", server.addr), connections.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line);
    ensure!(child.wait()?.success(), "the scratch client failed");
    read?;
    line.trim().parse().with_context(|| format!("the scratch client said {line:?}"))
}

/// What the child does.
#[allow(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn client(url: &str, connections: u32) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let before = proc::resident(std::process::id());
        let mut open = Vec::new();
        for _ in 0..connections {
            let mut request = url.into_client_request()?;
            request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
            let (mut socket, _) = connect_async(request).await?;
            socket.send(Message::text(r#"{"type":"connection_init"}"#)).await?;
            socket.next().await.context("an acknowledgement")??;
            open.push(socket);
        }
        let grown = proc::resident(std::process::id()).saturating_sub(before);
        println!("{}", grown as f64 / f64::from(connections));
        Ok(())
    })
}
