//! URLs as they may be stored: where, but not with what rights.

/// The URL without userinfo and without query values; keys stay, so that one can see what was sent.
#[must_use]
pub fn redact_url(url: &http::Uri) -> String {
    let mut shown = String::new();
    if let Some(scheme) = url.scheme_str() {
        shown.push_str(scheme);
        shown.push_str("://");
    }
    if let Some(authority) = url.authority() {
        let authority = authority.as_str();
        shown.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    }
    shown.push_str(url.path());
    if let Some(query) = url.query() {
        shown.push('?');
        let pairs: Vec<String> = query
            .split('&')
            // A pair without `=` has no key: all of it may be the secret.
            .map(|pair| {
                pair.split_once('=').map_or("[redacted]".into(), |(key, _)| format!("{key}=[redacted]"))
            })
            .collect();
        shown.push_str(&pairs.join("&"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_place_and_drops_the_rights() {
        let cases = [
            ("ws://127.0.0.1:4000/graphql", "ws://127.0.0.1:4000/graphql"),
            ("wss://user:pass@example.com/ws", "wss://example.com/ws"),
            ("wss://example.com/ws?token=abc&v=2", "wss://example.com/ws?token=[redacted]&v=[redacted]"),
            ("wss://example.com/ws?abc", "wss://example.com/ws?[redacted]"),
            ("wss://example.com/ws?token=a=b", "wss://example.com/ws?token=[redacted]"),
            ("wss://u@[::1]:8443/", "wss://[::1]:8443/"),
            ("/only/a/path", "/only/a/path"),
        ];
        for (url, shown) in cases {
            assert_eq!(redact_url(&url.parse().unwrap()), shown);
        }
    }
}
