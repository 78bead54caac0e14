//! A partition of one connection: our kernel drops all that comes in on its socket, before TCP sees it.
//!
//! So the peer's kernel gets no acknowledgement and sends again and again, as with a cut cable. It heals without loss.
//! Nothing may be written meanwhile, because what goes out would acknowledge what came in before.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream as Blocking};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::TcpStream;

/// `BPF_RET | BPF_K`: accept so many bytes of the packet, which is none (Linux, networking/filter).
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// How long is waited for what must not arrive.
const SILENCE: Duration = Duration::from_millis(50);
/// How long is waited for what must.
const PATIENCE: Duration = Duration::from_secs(5);

/// Drops everything that comes in from now on.
///
/// # Errors
/// If the kernel does not allow it.
pub fn attach(socket: &TcpStream) -> io::Result<()> {
    attach_to(socket)
}

/// Lets everything in again.
///
/// # Errors
/// If nothing is attached.
pub fn detach(socket: &TcpStream) -> io::Result<()> {
    detach_from(socket)
}

/// Whether this kernel lets us make one: tried once, on a connection of our own over loopback.
#[must_use]
pub fn is_allowed() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| probe().unwrap_or(false))
}

fn attach_to(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&[DROP_ALL])
}

fn detach_from(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).detach_filter()
}

/// Whether nothing arrives while a filter is attached, and everything does after that.
fn probe() -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut ours = Blocking::connect(listener.local_addr()?)?;
    let (mut theirs, _) = listener.accept()?;
    attach_to(&ours)?;
    theirs.write_all(b"x")?;
    let mut byte = [0];
    ours.set_read_timeout(Some(SILENCE))?;
    let silent = ours.read(&mut byte).is_err();
    detach_from(&ours)?;
    ours.set_read_timeout(Some(PATIENCE))?;
    Ok(silent && ours.read(&mut byte)? == 1)
}
