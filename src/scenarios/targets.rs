//! `[targets.NAME]` tables and `--target` URLs → [`Target`].

use std::ops::Range;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::check;
use super::file::{Name, OperationTable, PublishTable, StatisticsTable, TargetTable};
use super::problem::{Finding, nearest};
use super::target::{Contract, Limits, Operation, Protocol, Publish, Statistics, StatisticsFormat, Target};
use crate::care::Secret;

/// How long one scrape of statistics may take unless told.
const SCRAPE: Duration = Duration::from_secs(5);

/// Where the values of `${env:NAME}` come from; `None`: they are not needed now, only checked for their form.
pub(crate) type Environment<'a> = Option<&'a dyn Fn(&str) -> Option<String>>;

/// The reference server, started in a child process.
pub(crate) fn reference() -> Target {
    let pointer = |key: &str| Some(format!("/{key}"));
    Target {
        name: None,
        url: None,
        protocol: Protocol::GraphqlTransportWs,
        contract: Contract::AtMostOnce,
        ordered: true,
        confirmed: true,
        headers: IndexMap::new(),
        init: None,
        limits: Limits::default(),
        subscribe: default_subscribe(),
        publish: Publish::WebSocket(default_publish()),
        statistics: Some(Statistics {
            url: None,
            format: StatisticsFormat::Json,
            headers: IndexMap::new(),
            connections: pointer("connections"),
            subscriptions: pointer("subscriptions"),
            published: pointer("published"),
            delivered: pointer("delivered"),
            dropped: pointer("dropped"),
            memory: pointer("memory_bytes"),
            timeout: SCRAPE,
        }),
    }
}

/// A server known by its URL alone: our own operations, nothing promised beyond the least.
pub(crate) fn from_url(text: &str) -> Result<Target, Finding> {
    let url = parse_url(text, &["ws", "wss"]).map_err(Finding::nowhere)?;
    Ok(Target { url: Some(url), ordered: false, confirmed: false, statistics: None, ..reference() })
}

/// Reads a protocol's name.
pub(crate) fn protocol(name: &str) -> Result<Protocol, Finding> {
    Protocol::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or_else(|| {
        Finding::nowhere(format!("unknown protocol `{}`", name.escape_debug()))
            .allowed(name, Protocol::ALL.map(Protocol::name))
    })
}

/// A target's table.
pub(crate) fn from_table(
    name: &Name,
    table: &TargetTable,
    environment: Environment<'_>,
    findings: &mut Vec<Finding>,
) -> Target {
    check::name(name.get_ref(), &name.span(), findings);
    let mut reader = Reader { environment, findings };
    if table.url.is_none() {
        let finding = Finding::error(name.span(), "the key `url` is missing");
        reader.findings.push(finding.note("write url = \"wss://host/path\""));
    }
    let protocol = table.protocol.as_ref().and_then(|word| match protocol(word.get_ref()) {
        Ok(protocol) => Some(protocol),
        Err(finding) => {
            reader.findings.push(Finding { span: Some(word.span()), ..finding });
            None
        }
    });
    Target {
        name: Some(name.get_ref().clone()),
        url: table.url.as_ref().and_then(|url| reader.url(url, &["ws", "wss"])),
        protocol: protocol.unwrap_or(Protocol::GraphqlTransportWs),
        contract: table.contract.unwrap_or(Contract::AtMostOnce),
        ordered: table.ordered.unwrap_or(false),
        confirmed: table.confirmed.unwrap_or(false),
        headers: reader.headers(&table.headers),
        init: table.init.as_ref().map(|init| reader.json_secret(init)),
        limits: Limits {
            connections: table.limits.connections.map(|c| u32::try_from(c.0).unwrap_or(u32::MAX)),
            publish_rate: table.limits.publish_rate.map(|rate| rate.0),
            subscriptions_per_connection: table
                .limits
                .subscriptions_per_connection
                .map(|c| u32::try_from(c.0).unwrap_or(u32::MAX)),
        },
        subscribe: table.subscribe.as_ref().map_or_else(default_subscribe, |t| reader.subscribe(t)),
        publish: match &table.publish {
            None => Publish::WebSocket(default_publish()),
            Some(publish) => reader.publish(publish),
        },
        statistics: table.statistics.as_ref().map(|t| reader.statistics(t)),
    }
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

fn default_subscribe() -> Operation {
    Operation {
        query: "subscription ($channel: String!) { event(channel: $channel) { payload } }".to_owned(),
        operation_name: None,
        variables: object(json!({"channel": "${channel}"})),
        payload_at: ["data", "event", "payload"].map(ToOwned::to_owned).to_vec(),
    }
}

fn default_publish() -> Operation {
    Operation {
        query:
            "mutation ($channel: String!, $payload: String!) { publish(channel: $channel, payload: $payload) \
                { seq } }"
                .to_owned(),
        operation_name: None,
        variables: object(json!({"channel": "${channel}", "payload": "${payload}"})),
        payload_at: Vec::new(),
    }
}

/// A URL with one of the schemes and a host; the text is not repeated, it may hold a password.
fn parse_url(text: &str, schemes: &[&str]) -> Result<Uri, String> {
    let allowed =
        schemes.iter().map(|s| format!("{s}://HOST[:PORT][/PATH]")).collect::<Vec<_>>().join(" or ");
    let url: Uri = text.parse().map_err(|e| format!("not a URL ({e}): write {allowed}"))?;
    let scheme = url.scheme_str().unwrap_or_default();
    if !schemes.contains(&scheme) {
        let what = if scheme.is_empty() { "no scheme".to_owned() } else { format!("the scheme `{scheme}`") };
        return Err(format!("not a URL that can be used here, with {what}: write {allowed}"));
    }
    if url.host().is_none_or(str::is_empty) {
        return Err(format!("not a URL that can be used here, without a host: write {allowed}"));
    }
    // `http` takes any digits for a port and then has none; the default port would be loaded instead.
    let port =
        url.authority().map_or("", |a| a.as_str().rsplit_once(']').map_or(a.as_str(), |(_, rest)| rest));
    let port = port.rsplit_once('@').map_or(port, |(_, host)| host).rsplit_once(':').map_or("", |(_, p)| p);
    if !port.is_empty() && url.port_u16().is_none_or(|port| port == 0) {
        return Err(format!(
            "not a URL that can be used here, with a port that is not from 1 to 65535: write {allowed}"
        ));
    }
    Ok(url)
}

/// The text with `0` for every `${env:NAME}`.
fn any_value(text: &str) -> String {
    let mut parts = text.split("${env:");
    let lead = parts.next().unwrap_or_default().to_owned();
    parts.fold(lead, |known, part| format!("{known}0{}", part.split_once('}').map_or("", |(_, rest)| rest)))
}

struct Reader<'a> {
    environment: Environment<'a>,
    findings: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    fn url(&mut self, text: &Spanned<String>, schemes: &[&str]) -> Option<Uri> {
        let expanded = self.expand(text.get_ref(), &text.span());
        // Where the values are not needed, any stands for them; an empty one could not be a host.
        let bare = self.environment.is_none() && expanded != *text.get_ref();
        let expanded = if bare { any_value(text.get_ref()) } else { expanded };
        parse_url(&expanded, schemes)
            .map_err(|message| self.findings.push(Finding::error(text.span(), message)))
            .ok()
    }

    fn headers(&mut self, table: &IndexMap<Name, Spanned<String>>) -> IndexMap<String, Secret> {
        let mut headers = IndexMap::new();
        for (name, text) in table {
            let value = self.expand(text.get_ref(), &text.span());
            if HeaderName::from_bytes(name.get_ref().as_bytes()).is_err() {
                self.findings.push(Finding::error(name.span(), "not the name of a header"));
            } else if HeaderValue::from_str(&value).is_err() {
                self.findings.push(Finding::error(text.span(), "a header cannot have this value"));
            } else {
                headers.insert(name.get_ref().clone(), Secret::new(text.get_ref(), value));
            }
        }
        headers
    }

    /// Replaces every `${env:NAME}`.
    fn expand(&mut self, text: &str, span: &Range<usize>) -> String {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${env:") {
            expanded.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                self.findings.push(Finding::error(span.clone(), "`${env:` without its `}`"));
                return text.to_owned();
            };
            rest = tail;
            match self.environment.map(|lookup| lookup(name)) {
                None => {}
                Some(Some(value)) => expanded.push_str(&value),
                Some(None) => {
                    let message = format!("the environment variable {} is not set", name.escape_debug());
                    self.findings.push(Finding::error(span.clone(), message));
                }
            }
        }
        expanded + rest
    }

    fn json_secret(&mut self, init: &Spanned<Map<String, Value>>) -> Secret {
        let template = Value::Object(init.get_ref().clone());
        let mut value = template.clone();
        strings(&mut value, &mut |text| *text = self.expand(text, &init.span()));
        Secret::new(template.to_string(), value.to_string())
    }

    fn subscribe(&mut self, table: &Spanned<OperationTable>) -> Operation {
        let own = table.get_ref();
        let payload_at = own.payload_at.as_ref().map(|at| self.pointer(at)).unwrap_or_default();
        let query = self.query(own.query.as_ref(), &table.span());
        let variables = self.variables(own.variables.as_ref(), "${channel}", &table.span());
        Operation { query, operation_name: own.operation_name.clone(), variables, payload_at }
    }

    fn publish(&mut self, table: &Spanned<PublishTable>) -> Publish {
        let own = table.get_ref();
        let operation = Operation {
            query: self.query(own.query.as_ref(), &table.span()),
            operation_name: own.operation_name.clone(),
            variables: self.variables(own.variables.as_ref(), "${payload}", &table.span()),
            payload_at: Vec::new(),
        };
        match &own.http {
            None => Publish::WebSocket(operation),
            Some(http) => Publish::Http {
                url: http.url.as_ref().and_then(|url| self.url(url, &["http", "https"])),
                headers: self.headers(&http.headers),
                operation,
            },
        }
    }

    fn query(&mut self, query: Option<&String>, span: &Range<usize>) -> String {
        match query.filter(|query| !query.trim().is_empty()) {
            Some(query) => query.clone(),
            None => {
                self.findings.push(Finding::error(span.clone(), "the key `query` is missing"));
                String::new()
            }
        }
    }

    /// Variables, whose templates must be known ones and include the needed one.
    fn variables(
        &mut self,
        table: Option<&Spanned<Map<String, Value>>>,
        needed: &str,
        span: &Range<usize>,
    ) -> Map<String, Value> {
        let span = table.map_or(span.clone(), Spanned::span);
        let mut all = Value::Object(table.map(|t| t.get_ref().clone()).unwrap_or_default());
        let known = ["${channel}", "${payload}", "${connection}"];
        let mut found = false;
        strings(&mut all, &mut |text| {
            found |= text.contains(needed);
            for (at, _) in text.match_indices("${") {
                let end = text[at..].find('}').map_or(text.len(), |i| at + i + 1);
                let template = &text[at..end];
                if !known.contains(&template) {
                    let message = format!("unknown template `{}`", template.escape_debug());
                    self.findings.push(Finding::error(span.clone(), message).allowed(template, known));
                }
            }
        });
        if !found {
            let message = format!("no variable holds {needed}");
            let note = format!("write variables = {{ name = \"{needed}\" }}");
            self.findings.push(Finding::error(span, message).note(note));
        }
        object(all)
    }

    /// A JSON pointer (RFC 6901) as keys.
    fn pointer(&mut self, at: &Spanned<String>) -> Vec<String> {
        let text = at.get_ref();
        let Some(rest) = text.strip_prefix('/') else {
            if !text.is_empty() {
                let message = "a JSON pointer starts with `/`, such as \"/data/event/payload\"";
                self.findings.push(Finding::error(at.span(), message));
            }
            return Vec::new();
        };
        rest.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect()
    }

    fn statistics(&mut self, table: &Spanned<StatisticsTable>) -> Statistics {
        let own = table.get_ref();
        if own.url.is_none() {
            self.findings.push(Finding::error(table.span(), "the key `url` is missing"));
        }
        let format = own.format.unwrap_or(StatisticsFormat::Prometheus);
        let mut selector = |selector: &Option<Spanned<String>>| {
            let selector = selector.as_ref()?;
            if format == StatisticsFormat::Json {
                self.pointer(selector);
            }
            Some(selector.get_ref().clone())
        };
        let [connections, subscriptions, published, delivered, dropped, memory] =
            [&own.connections, &own.subscriptions, &own.published, &own.delivered, &own.dropped, &own.memory]
                .map(&mut selector);
        Statistics {
            url: own.url.as_ref().and_then(|url| self.url(url, &["http", "https"])),
            format,
            headers: self.headers(&own.headers),
            connections,
            subscriptions,
            published,
            delivered,
            dropped,
            memory,
            timeout: own.timeout.map_or(SCRAPE, |span| span.0),
        }
    }
}

/// Visits every string in a JSON value.
fn strings(value: &mut Value, visit: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(values) => values.iter_mut().for_each(|value| strings(value, visit)),
        Value::Object(map) => map.values_mut().for_each(|value| strings(value, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A target's name that was probably meant.
pub(crate) fn unknown(text: &str, names: &[String]) -> Finding {
    let names = names.iter().map(String::as_str);
    let finding = Finding::nowhere(format!("`{}` is neither a URL nor a target", text.escape_debug()))
        .note("write ws://HOST:PORT/PATH or wss://HOST/PATH, or the name of a [targets.NAME] table");
    match nearest(text, names) {
        Some(near) => finding.note(format!("did you mean `{near}`?")),
        None => finding,
    }
}
