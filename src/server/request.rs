//! The head of an HTTP request: parsed, and asked a few questions.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// Most header lines.
const MAX_HEADERS: usize = 64;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: http::Uri,
    pub(crate) headers: HeaderMap,
    /// HTTP/1.0 connections end after one answer.
    pub(crate) old: bool,
}

impl Head {
    /// Parses the head that `input` begins with, and tells its length; `None` if it is not complete.
    pub(crate) fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, StatusCode> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let size = match request.parse(input) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Err(_) => return Err(StatusCode::BAD_REQUEST),
        };
        let mut map = HeaderMap::with_capacity(request.headers.len());
        for field in request.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
            map.append(name, HeaderValue::from_bytes(field.value).map_err(|_| StatusCode::BAD_REQUEST)?);
        }
        let method = request.method.unwrap_or_default().parse().map_err(|_| StatusCode::BAD_REQUEST)?;
        let uri =
            request.path.unwrap_or_default().parse::<http::Uri>().map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Some((Self { method, uri, headers: map, old: request.version == Some(0) }, size)))
    }

    /// Whether a header lists `value`, whatever its case and parameters.
    pub(crate) fn has(&self, name: HeaderName, value: &str) -> bool {
        let lines = self.headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
        let mut items = lines.flat_map(|line| line.split(','));
        items.any(|item| item.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(value))
    }

    pub(crate) fn keep_alive(&self) -> bool {
        !self.old && !self.has(header::CONNECTION, "close")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_parsed_when_they_are_complete() {
        let text =
            b"POST /graphql?x HTTP/1.1\r\nHost: a\r\nContent-Type: Application/JSON; charset=utf-8\r\n\r\n{}";
        for cut in 0..text.len() - 2 {
            assert!(Head::parse(&text[..cut]).unwrap().is_none(), "{cut}");
        }
        let (head, size) = Head::parse(text).unwrap().unwrap();
        assert_eq!((&text[size..], head.uri.path(), head.method.as_str()), (&b"{}"[..], "/graphql", "POST"));
        assert!(head.has(header::CONTENT_TYPE, "application/json"));
        assert!(head.keep_alive());
    }

    #[test]
    fn bad_heads_are_refused() {
        assert_eq!(Head::parse(b"\x16\x03\x01\x02").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(Head::parse(b"GET \x01 HTTP/1.1\r\n\r\n").unwrap_err(), StatusCode::BAD_REQUEST);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        let refused = Head::parse(many.as_bytes()).unwrap_err();
        assert_eq!(refused, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
}
