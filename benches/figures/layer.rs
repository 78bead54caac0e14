//! What the layer costs that faults act through: CPU where no fault acts, and memory where one acts on everybody.

use std::rc::Rc;

use anyhow::ensure;
use stressctl::inject::{Alarm, Control, Link};
use stressctl::metrics::thread_time;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};

use crate::Size;
use crate::children::{Load, Server, run};
use crate::table::Target::AtMost;
use crate::table::{Figure, short};

const KIB: f64 = 1024.0;
/// Bytes of one read.
const READ: usize = 200;
/// Reads in a row of one stream; all of their bytes are there before the first, and fit into what holds them.
const READS: usize = 300;

/// Nanoseconds of CPU per read: of a bare stream, of a link that no fault will ever act on, and of one that waits for
/// orders.
pub(crate) fn cpu(size: Size) -> anyhow::Result<Vec<Figure>> {
    let rounds = size.of(2_000, 200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let sockets = [loopback().await?, loopback().await?, loopback().await?];
        let mut figures = costs("a socket", sockets, rounds).await?;
        let pipes = [(); 3].map(|()| duplex(READ * READS));
        figures.extend(costs("memory", pipes, rounds).await?);
        Ok(figures)
    })
}

/// One stream after the other in each round, forwards and backwards, so that what disturbs one disturbs all.
async fn costs<S: AsyncRead + AsyncWrite + Unpin>(
    of: &str,
    pairs: [(S, S); 3],
    rounds: u32,
) -> anyhow::Result<Vec<Figure>> {
    let [(mut bare, mut to_bare), (plain, mut to_plain), (idle, mut to_idle)] = pairs;
    let mut plain = Link::plain(plain);
    let mut idle = Link::under(idle, Control::new(&Rc::new(Alarm::default())));
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..rounds {
        let mut order = [0, 1, 2];
        if round % 2 == 1 {
            order.reverse();
        }
        for which in order {
            samples[which].push(match which {
                0 => read(&mut bare, &mut to_bare).await?,
                1 => read(&mut plain, &mut to_plain).await?,
                _ => read(&mut idle, &mut to_idle).await?,
            });
        }
    }
    // Of the differences within a round: the machine changes its pace between them.
    let more =
        |which: usize| median(samples[which].iter().zip(&samples[0]).map(|(of, bare)| of - bare).collect());
    let bare = median(samples[0].clone());
    let note =
        format!("{READ} bytes a read, {rounds} rounds of {READS}; the bare stream takes {} ns", short(bare));
    Ok(vec![
        Figure::new(format!("fault layer, CPU per read of {of}, no fault planned"), more(1), "ns").note(note),
        Figure::new(format!("the same of {of} where a fault is planned and does not act"), more(2), "ns"),
    ])
}

/// Nanoseconds of CPU of each of a row of reads.
async fn read<R, W>(stream: &mut R, peer: &mut W) -> anyhow::Result<f64>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    peer.write_all(&[7; READ * READS]).await?;
    let mut buf = [0; READ];
    let began = thread_time();
    for _ in 0..READS {
        stream.read_exact(&mut buf).await?;
    }
    Ok((thread_time() - began).as_nanos() as f64 / READS as f64)
}

fn median(mut sample: Vec<f64>) -> f64 {
    sample.sort_unstable_by(f64::total_cmp);
    sample[sample.len() / 2]
}

async fn loopback() -> anyhow::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    Ok((ours?, theirs?.0))
}

/// Memory per connection while every link is delayed both ways, beside the same without.
pub(crate) fn memory(size: Size) -> anyhow::Result<Vec<Figure>> {
    let connections = size.of(10_000, 2_000);
    let far = r#"
faults.far = { on = "clients", link-delay = { up = "100ms", down = "100ms" } }
reached.all-hit = "faults.far.applied / predicted == 100%"
"#;
    let mut each = [0.0; 2];
    for (each, faults) in each.iter_mut().zip(["", far]) {
        let server = Server::start()?;
        let ran = run(&server, &Load { connections, subscriptions: connections, faults, ..Load::default() })?;
        let all_open = ran.number("/connections/peak_open") == f64::from(connections);
        ensure!(all_open, "not all connections were open");
        *each = ran.number("/resources/client/memory_per_connection_bytes") / KIB;
    }
    let [without, with] = each;
    let note = format!(
        "{} KiB per connection with a delay of 100 ms each way, {} without",
        short(with),
        short(without)
    );
    let name = format!("fault layer, memory per delayed connection, {connections} idle");
    Ok(vec![Figure::new(name, with - without, "KiB").target(AtMost(3.0)).note(note)])
}
