//! What to answer to a GET or HEAD of a file: conditions and ranges as RFC 9110 has them. Pure.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, StatusCode, header};

/// What is known of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The strong entity tag, quotes included.
    pub(super) etag: String,
    /// Seconds resolution.
    pub(super) modified: SystemTime,
    /// Length in bytes.
    pub(super) size: u64,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200 with all bytes.
    Whole,
    /// 206 with these bytes.
    Part(Range<u64>),
    /// 304, nothing changed.
    NotModified,
    /// 412, the caller's condition does not hold.
    PreconditionFailed,
    /// 416, the range is beyond the end.
    RangeNotSatisfiable,
}

impl Answer {
    /// The status code.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Whole => StatusCode::OK,
            Self::Part(_) => StatusCode::PARTIAL_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

/// Weighs the request's headers in the order of RFC 9110, section 13.2.2. A HEAD has no ranges.
pub(super) fn weigh(headers: &HeaderMap, head: bool, facts: &Facts) -> Answer {
    if !precondition_holds(headers, facts) {
        return Answer::PreconditionFailed;
    }
    if not_modified(headers, facts) {
        return Answer::NotModified;
    }
    match text(headers, header::RANGE) {
        Some(range) if !head && if_range_holds(headers, facts) => part(range, facts.size),
        _ => Answer::Whole,
    }
}

fn precondition_holds(headers: &HeaderMap, facts: &Facts) -> bool {
    if headers.contains_key(header::IF_MATCH) {
        return tags(headers, header::IF_MATCH).any(|tag| tag == "*" || tag == facts.etag);
    }
    date(headers, header::IF_UNMODIFIED_SINCE).is_none_or(|since| facts.modified <= since)
}

fn not_modified(headers: &HeaderMap, facts: &Facts) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        let weak = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == facts.etag;
        return tags(headers, header::IF_NONE_MATCH).any(|tag| tag == "*" || weak(tag));
    }
    date(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| facts.modified <= since)
}

/// A weak tag never holds here, nor does a date other than exactly ours.
fn if_range_holds(headers: &HeaderMap, facts: &Facts) -> bool {
    let Some(condition) = headers.get(header::IF_RANGE) else { return true };
    condition.as_bytes() == facts.etag.as_bytes() || date(headers, header::IF_RANGE) == Some(facts.modified)
}

/// One range of bytes. Several, or what is not a range of bytes, count as none: the whole file is an allowed answer.
fn part(range: &str, size: u64) -> Answer {
    let Some(spec) = range.trim().strip_prefix("bytes=").map(str::trim) else { return Answer::Whole };
    let number = |text: &str| match text {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(Some(digits.parse().unwrap_or(u64::MAX))),
        _ => None,
    };
    let Some((first, last)) = spec.split_once('-') else { return Answer::Whole };
    let (Some(first), Some(last)) = (number(first), number(last)) else { return Answer::Whole };
    let range = match (first, last) {
        (None, None) => return Answer::Whole,
        (Some(first), Some(last)) if first > last => return Answer::Whole,
        (Some(first), last) => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
        (None, Some(suffix)) => size.saturating_sub(suffix)..size,
    };
    if range.is_empty() { Answer::RangeNotSatisfiable } else { Answer::Part(range) }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The entity tags of a list, over all headers of that name. Ours hold no comma, so splitting at commas finds them.
fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

/// A time as HTTP has it: whole seconds.
pub(super) fn whole_seconds(time: jiff::Timestamp) -> SystemTime {
    let seconds = u64::try_from(time.as_second()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Wed, 08 Oct 2025 09:59:59 GMT";
    const EXACT: &str = "Wed, 08 Oct 2025 10:00:00 GMT";
    const AFTER: &str = "Wed, 08 Oct 2025 10:00:01 GMT";

    fn answer(head: bool, size: u64, pairs: &[(&str, &str)]) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let modified = whole_seconds("2025-10-08T10:00:00.75Z".parse().unwrap());
        weigh(&headers, head, &Facts { etag: "\"sha256:ab\"".to_owned(), modified, size })
    }

    #[test]
    fn conditions() {
        use Answer::{NotModified, PreconditionFailed, Whole};
        let rows: &[(&[(&str, &str)], Answer)] = &[
            (&[], Whole),
            (&[("if-none-match", "\"sha256:ab\"")], NotModified),
            (&[("if-none-match", "W/\"sha256:ab\"")], NotModified),
            (&[("if-none-match", "\"x\", \"sha256:ab\"")], NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"sha256:ab\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"x\"")], Whole),
            (&[("if-none-match", "\"x\""), ("if-modified-since", AFTER)], Whole),
            (&[("if-modified-since", BEFORE)], Whole),
            (&[("if-modified-since", EXACT)], NotModified),
            (&[("if-modified-since", AFTER)], NotModified),
            (&[("if-modified-since", "nonsense")], Whole),
            (&[("if-match", "\"sha256:ab\"")], Whole),
            (&[("if-match", "*")], Whole),
            (&[("if-match", "W/\"sha256:ab\"")], PreconditionFailed),
            (&[("if-match", "\"x\"")], PreconditionFailed),
            (&[("if-unmodified-since", BEFORE)], PreconditionFailed),
            (&[("if-unmodified-since", EXACT)], Whole),
            (&[("if-match", "\"sha256:ab\""), ("if-unmodified-since", BEFORE)], Whole),
        ];
        for (headers, expected) in rows {
            assert_eq!(answer(false, 10, headers), *expected, "row {headers:?}");
            assert_eq!(answer(true, 10, headers), *expected, "HEAD row {headers:?}");
        }
    }

    #[test]
    fn ranges() {
        use Answer::{Part, RangeNotSatisfiable, Whole};
        let rows = [
            ("bytes=0-3", 10, Part(0..4)),
            ("bytes=3-", 10, Part(3..10)),
            ("bytes=3-99", 10, Part(3..10)),
            ("bytes=9-9", 10, Part(9..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-99", 10, Part(0..10)),
            ("bytes=0-18446744073709551615", 10, Part(0..10)),
            ("bytes=0-99999999999999999999999", 10, Part(0..10)),
            (" bytes=0-0 ", 10, Part(0..1)),
            ("bytes=10-", 10, RangeNotSatisfiable),
            ("bytes=99999999999999999999999-", 10, RangeNotSatisfiable),
            ("bytes=-0", 10, RangeNotSatisfiable),
            ("bytes=0-", 0, RangeNotSatisfiable),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=4-3", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=--1", 10, Whole),
            ("lines=0-3", 10, Whole),
        ];
        for (range, size, expected) in rows {
            assert_eq!(answer(false, size, &[("range", range)]), expected, "row {range:?}");
            assert_eq!(answer(true, size, &[("range", range)]), Whole, "HEAD has no ranges: {range:?}");
        }
    }

    #[test]
    fn ranges_on_condition() {
        let rows = [
            ("\"sha256:ab\"", Answer::Part(0..4)),
            ("W/\"sha256:ab\"", Answer::Whole),
            ("\"x\"", Answer::Whole),
            (EXACT, Answer::Part(0..4)),
            (AFTER, Answer::Whole),
            ("nonsense", Answer::Whole),
        ];
        for (condition, expected) in rows {
            assert_eq!(
                answer(false, 10, &[("range", "bytes=0-3"), ("if-range", condition)]),
                expected,
                "row {condition}"
            );
        }
    }
}
