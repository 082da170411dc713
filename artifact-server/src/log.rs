//! Log lines as Flux's controllers write them, on standard error.
//!
//! JSON: `{"level":"info","ts":"2025-10-08T10:00:00.000Z","logger":"run","msg":"…", …}`, an error under `error`, other fields after it.

use std::{convert::Infallible, fmt, str::FromStr};

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};
use weir_proto::process::Fields;

const CRATE: &str = "weir_artifact_server";

/// Least level to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Trace,
    /// What developers need.
    Debug,
    /// What operators need.
    Info,
    /// Only failures.
    Error,
}

impl FromStr for Level {
    type Err = Infallible;

    /// An unknown level is `info`, as in Flux.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "error" => Self::Error,
            _ => Self::Info,
        })
    }
}

/// How to write a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One JSON object a line.
    Json,
    /// Tab-separated, for people.
    Console,
}

impl FromStr for Encoding {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "json" => Ok(Self::Json),
            "console" => Ok(Self::Console),
            _ => Err("use json or console"),
        }
    }
}

/// Sends this program's events to standard error. Libraries are heard only when something is wrong. Called once.
pub fn start(level: Level, encoding: Encoding) {
    let ours = match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Error => LevelFilter::ERROR,
    };
    let targets = Targets::new().with_default(LevelFilter::WARN.min(ours)).with_target(CRATE, ours);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).event_format(encoding);
    // A second start (in tests) keeps the first.
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
}

impl<S, N> FormatEvent<S, N> for Encoding
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level().as_str().to_lowercase();
        writeln!(writer, "{}", line(*self, &level, jiff::Timestamp::now(), event.metadata().target(), fields))
    }
}

/// One line without its end. Pure.
fn line(encoding: Encoding, level: &str, now: jiff::Timestamp, target: &str, fields: Fields) -> String {
    let logger = target.strip_prefix(CRATE).map_or(target, |rest| rest.trim_start_matches(':')).replace("::", ".");
    let time = now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    let (mut message, mut rest) = (String::new(), Map::new());
    for (name, value) in fields.0 {
        match (name, value) {
            ("message", Value::String(text)) => message = text,
            (name, value) => _ = rest.insert(name.to_owned(), value),
        }
    }
    if encoding == Encoding::Console {
        let rest = if rest.is_empty() { String::new() } else { format!("\t{}", Value::Object(rest)) };
        return format!("{time}\t{}\t{logger}\t{message}{rest}", level.to_uppercase());
    }
    let head = [("level", level), ("ts", &time), ("logger", &logger), ("msg", &message)];
    let head = head.into_iter().filter(|(key, value)| *key != "logger" || !value.is_empty());
    let head = head.map(|(key, value)| (key, Value::from(value)));
    // Written pair by pair: people read the level and the time first, and a JSON map would sort its keys.
    let rest = rest.iter().map(|(key, value)| (key.as_str(), value.clone()));
    let pairs: Vec<String> = head.chain(rest).map(|(key, value)| format!("{}:{value}", Value::from(key))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_keys_of_flux() {
        let now: jiff::Timestamp = "2025-10-08T10:00:00Z".parse().unwrap();
        let fields = || Fields(vec![("message", "could not\nstore".into()), ("error", "disk \"full\"".into())]);
        let json = line(Encoding::Json, "error", now, "weir_artifact_server::http::files", fields());
        let expected = r#"{"level":"error","ts":"2025-10-08T10:00:00.000Z","logger":"http.files","msg":"could not\nstore","error":"disk \"full\""}"#;
        assert_eq!(json, expected);
        let console = line(Encoding::Console, "info", now, "weir_artifact_server", fields());
        assert_eq!(console, "2025-10-08T10:00:00.000Z\tINFO\t\tcould not\nstore\t{\"error\":\"disk \\\"full\\\"\"}");
    }
}
