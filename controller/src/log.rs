//! Log lines with the keys of Flux's controllers, on standard error.
//!
//! JSON: `{"level":"info","ts":"2025-10-08T10:00:00.000Z","msg":"…","controller":"artifactgenerator",…}`. Fields of the spans
//! around an event come before its own; `a.b` becomes a field `b` of an object `a`.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber, span};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};
use weir_proto::process::Fields;

const CRATE: &str = "weir_controller";

/// Least level to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything, events included.
    Trace,
    /// What developers need.
    Debug,
    /// What operators need.
    Info,
    /// Only failures.
    Error,
}

impl Level {
    /// An unknown level is `info`, as in Flux.
    pub fn named(name: &str) -> Self {
        match name {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "error" => Self::Error,
            _ => Self::Info,
        }
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

impl Encoding {
    /// An unknown encoding is `json`, as in Flux.
    pub fn named(name: &str) -> Self {
        if name == "console" { Self::Console } else { Self::Json }
    }
}

/// Sends this program's events to standard error. Libraries are heard only when something is wrong. A second start changes
/// nothing.
pub fn start(level: Level, encoding: Encoding) {
    let ours = match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Error => LevelFilter::ERROR,
    };
    // The client says "failed" once more for each call whose error we explain ourselves.
    let client = if ours > LevelFilter::INFO { LevelFilter::WARN } else { LevelFilter::OFF };
    let targets = Targets::new().with_default(LevelFilter::WARN.min(ours)).with_target(CRATE, ours);
    let targets = targets.with_target("kube_client::client::builder", client);
    let _ = tracing_subscriber::registry().with(Lines(encoding).with_filter(targets)).try_init();
}

/// Writes each event as one line.
struct Lines(Encoding);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(found) = span.extensions().get::<Fields>() {
                fields.0.extend(found.0.iter().cloned());
            }
        }
        event.record(&mut fields);
        let level = event.metadata().level().as_str().to_lowercase();
        let line = line(self.0, &level, Timestamp::now(), fields);
        // Nobody to tell when standard error is gone.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

/// One line without its end. Pure.
fn line(encoding: Encoding, level: &str, now: Timestamp, fields: Fields) -> String {
    let (mut logger, mut message, mut rest) = (None, String::new(), Vec::<(&str, Value)>::new());
    for (name, value) in fields.0 {
        match (name, name.split_once('.')) {
            ("message", _) => message = value.as_str().unwrap_or_default().to_owned(),
            ("logger", _) => logger = Some(value),
            (_, Some((object, field))) => insert_into(&mut rest, object, field, value),
            _ => rest.push((name, value)),
        }
    }
    let time = now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    let text = |pairs: Vec<(&str, Value)>| {
        // Written pair by pair: people read the level and the time first, and a JSON map would sort its keys.
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{}:{value}", Value::from(*key))).collect();
        format!("{{{}}}", pairs.join(","))
    };
    if encoding == Encoding::Console {
        let logger = logger.map(|logger| format!("\t{}", logger.as_str().unwrap_or_default())).unwrap_or_default();
        let rest = if rest.is_empty() { String::new() } else { format!("\t{}", text(rest)) };
        return format!("{time}\t{}{logger}\t{message}{rest}", level.to_uppercase());
    }
    let head = [("level", Value::from(level)), ("ts", Value::from(time))];
    let middle = logger.map(|logger| ("logger", logger));
    text(head.into_iter().chain(middle).chain([("msg", Value::from(message))]).chain(rest).collect())
}

fn insert_into<'a>(rest: &mut Vec<(&'a str, Value)>, object: &'a str, field: &str, value: Value) {
    if let Some((_, Value::Object(map))) = rest.iter_mut().find(|(name, _)| *name == object) {
        map.insert(field.to_owned(), value);
    } else {
        rest.push((object, Value::Object(Map::from_iter([(field.to_owned(), value)]))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields(vec![
            ("controller", "artifactgenerator".into()),
            ("ArtifactGenerator.name", "gen".into()),
            ("ArtifactGenerator.namespace", "apps".into()),
            ("reconcileID", "id".into()),
            ("message", "could not\nstore".into()),
            ("error", "disk \"full\"".into()),
            ("artifacts", 3.into()),
        ])
    }

    #[test]
    fn lines_have_the_keys_of_flux() {
        let now: Timestamp = "2025-10-08T10:00:00.0015Z".parse().unwrap();
        let expected = concat!(
            r#"{"level":"error","ts":"2025-10-08T10:00:00.001Z","msg":"could not\nstore","controller":"artifactgenerator","#,
            r#""ArtifactGenerator":{"name":"gen","namespace":"apps"},"reconcileID":"id","error":"disk \"full\"","artifacts":3}"#,
        );
        assert_eq!(line(Encoding::Json, "error", now, fields()), expected);
        serde_json::from_str::<Value>(expected).unwrap();
        let setup = || Fields(vec![("message", "starting manager".into()), ("logger", "setup".into())]);
        let json = r#"{"level":"info","ts":"2025-10-08T10:00:00.001Z","logger":"setup","msg":"starting manager"}"#;
        assert_eq!(line(Encoding::Json, "info", now, setup()), json);
        let console = "2025-10-08T10:00:00.001Z\tINFO\tsetup\tstarting manager";
        assert_eq!(line(Encoding::Console, "info", now, setup()), console);
        let with_fields = line(Encoding::Console, "debug", now, Fields(vec![("message", "x".into()), ("a", 1.into())]));
        assert_eq!(with_fields, "2025-10-08T10:00:00.001Z\tDEBUG\tx\t{\"a\":1}");
    }

    #[test]
    fn unknown_names_fall_back() {
        assert_eq!((Level::named("verbose"), Level::named("trace")), (Level::Info, Level::Trace));
        assert_eq!((Encoding::named("xml"), Encoding::named("console")), (Encoding::Json, Encoding::Console));
    }
}
