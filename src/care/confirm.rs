//! Whether a target may be loaded at all: loopback always, anything else only when named on purpose.

use std::net::IpAddr;

use thiserror::Error;

/// Why a target is not loaded; nothing has been sent to it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// The resolver answered without an address.
    #[error("{host} has no address; check the host in the target's url")]
    NoAddress {
        /// The host asked for.
        host: String,
    },
    /// It is not this machine, and nobody said that it is meant.
    #[error(
        "{host} ({}) is not this machine: add --confirm {host} if it may be loaded, \
         or `confirmed = true` to its table", listed(.addresses)
    )]
    Unconfirmed {
        /// The host of the target.
        host: String,
        /// Every address it resolves to.
        addresses: Vec<IpAddr>,
    },
    /// Somebody said that another one is meant.
    #[error(
        "--confirm names {confirm}, but the target is {host} ({}): use --confirm {host} if that one is meant",
        listed(.addresses)
    )]
    OtherHost {
        /// The host of the target.
        host: String,
        /// What `--confirm` named.
        confirm: String,
        /// Every address it resolves to.
        addresses: Vec<IpAddr>,
    },
}

/// Decides on the resolver's answer whether `host` may be loaded.
///
/// Loopback needs no word. One foreign address among loopback ones makes the host foreign: whoever controls its
/// name server could answer either way. A `confirm` that names another host is refused even where the target's
/// table says `confirmed`, because then somebody is mistaken about what is about to be loaded.
///
/// # Errors
/// [`Refused`] says which flag to add, or that there is nothing to connect to.
pub fn permit(
    host: &str,
    addresses: &[IpAddr],
    confirm: Option<&str>,
    confirmed: bool,
) -> Result<(), Refused> {
    let host = plain(host);
    if addresses.is_empty() {
        return Err(Refused::NoAddress { host: host.to_owned() });
    }
    if addresses.iter().all(is_loopback) {
        return Ok(());
    }
    match confirm {
        Some(named) if plain(named).eq_ignore_ascii_case(host) => Ok(()),
        Some(named) => Err(Refused::OtherHost {
            host: host.to_owned(),
            confirm: plain(named).to_owned(),
            addresses: addresses.to_vec(),
        }),
        None if confirmed => Ok(()),
        None => Err(Refused::Unconfirmed { host: host.to_owned(), addresses: addresses.to_vec() }),
    }
}

/// The host of a URL as a resolver and `--confirm` want it: without the brackets of an IPv6 address.
#[must_use]
pub fn host_of(url: &http::Uri) -> Option<&str> {
    url.host().map(plain).filter(|host| !host.is_empty())
}

/// Without brackets and without the dot that marks a name as absolute: the same host either way.
fn plain(host: &str) -> &str {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

/// `::ffff:127.0.0.1` is how a dual-stack resolver writes 127.0.0.1.
fn is_loopback(address: &IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn listed(addresses: &[IpAddr]) -> String {
    const SHOWN: usize = 4;
    let mut text = addresses.iter().take(SHOWN).map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    if addresses.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn loopback_in_every_spelling_needs_no_word() {
        for addresses in
            [&["127.0.0.1"][..], &["127.8.9.1"], &["::1"], &["::ffff:127.0.0.1"], &["127.0.0.1", "::1"]]
        {
            assert_eq!(permit("localhost", &ips(addresses), None, false), Ok(()), "{addresses:?}");
        }
    }

    #[test]
    fn anything_else_is_foreign_even_beside_loopback() {
        for addresses in [
            &["10.0.0.1"][..],
            &["0.0.0.0"],
            &["::"],
            &["::ffff:10.0.0.1"],
            &["fe80::1"],
            &["127.0.0.1", "93.184.216.34"],
            &["::1", "2001:db8::1"],
        ] {
            let addresses = ips(addresses);
            assert_eq!(
                permit("rebind.test", &addresses, None, false),
                Err(Refused::Unconfirmed { host: "rebind.test".into(), addresses: addresses.clone() })
            );
            assert_eq!(permit("rebind.test", &addresses, None, true), Ok(()));
            assert_eq!(permit("rebind.test", &addresses, Some("rebind.test"), false), Ok(()));
        }
    }

    #[test]
    fn an_empty_answer_is_never_taken_for_loopback() {
        let refused = permit("nowhere.test", &[], Some("nowhere.test"), true);
        assert_eq!(refused, Err(Refused::NoAddress { host: "nowhere.test".into() }));
    }

    #[test]
    fn confirm_must_name_the_host_whatever_its_spelling() {
        let there = ips(&["2001:db8::1"]);
        assert_eq!(permit("Staging.Example.com", &there, Some("staging.example.com."), false), Ok(()));
        assert_eq!(permit("[2001:db8::1]", &there, Some("2001:db8::1"), false), Ok(()));
        assert!(matches!(
            permit("staging.example.com", &there, Some("example.com"), true),
            Err(Refused::OtherHost { .. })
        ));
    }

    #[test]
    fn messages_name_host_addresses_and_flag() {
        let there = ips(&["10.0.0.1", "2001:db8::1"]);
        assert_eq!(
            permit("staging.example.com", &there, None, false).unwrap_err().to_string(),
            "staging.example.com (10.0.0.1, 2001:db8::1) is not this machine: add --confirm staging.example.com \
             if it may be loaded, or `confirmed = true` to its table"
        );
        assert_eq!(
            permit("staging.example.com", &there, Some("prod"), false).unwrap_err().to_string(),
            "--confirm names prod, but the target is staging.example.com (10.0.0.1, 2001:db8::1): \
             use --confirm staging.example.com if that one is meant"
        );
    }

    #[test]
    fn host_of_drops_brackets_and_userinfo() {
        let host = |url: &str| host_of(&url.parse().unwrap()).map(str::to_owned);
        assert_eq!(host("ws://user@[::1]:4000/"), Some("::1".into()));
        assert_eq!(host("wss://example.com/ws"), Some("example.com".into()));
        assert_eq!(host("/path"), None);
    }
}
