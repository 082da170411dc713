//! What a plain scalar means: YAML 1.1 as go-yaml v2 has it, with Go's forms of integers.

use std::borrow::Cow;

use super::{timestamp::is_timestamp, value::Value};

/// A scalar, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer that is too large for the other kind.
    Uint(u64),
    Float(f64),
    /// A time. It stays the text that it is.
    Timestamp(Cow<'a, str>),
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// The tag that says so, without its prefix.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Uint(_) => "int",
            Self::Float(_) => "float",
            Self::Timestamp(_) => "timestamp",
            Self::Text(_) => "str",
        }
    }

    /// Bytes that it takes as text.
    pub(super) fn text_length(&self) -> usize {
        match self {
            Self::Timestamp(text) | Self::Text(text) => text.len(),
            _ => 0,
        }
    }

    /// As JSON has it.
    #[expect(clippy::cast_precision_loss, reason = "the reference reads all numbers as floats")]
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(number) => Value::Number(number as f64),
            Self::Uint(number) => Value::Number(number as f64),
            Self::Float(number) => Value::Number(number),
            Self::Timestamp(text) | Self::Text(text) => Value::Text(text.into_owned()),
        }
    }
}

/// Resolves a text. Times are only looked for when asked to.
pub(super) fn resolve(text: &str, times: bool) -> Scalar<'_> {
    if let Some(word) = word(text) {
        return word;
    }
    let number = match text.as_bytes().first() {
        Some(b'.') if !text.contains('_') || joins_digits(text) => float(&text.replace('_', "")).map(Scalar::Float),
        Some(b'+' | b'-' | b'0'..=b'9') if times && is_timestamp(text) => Some(Scalar::Timestamp(text.into())),
        Some(b'+' | b'-' | b'0'..=b'9') => number(&text.replace('_', "")),
        _ => None,
    };
    number.unwrap_or(Scalar::Text(text.into()))
}

fn word(text: &str) -> Option<Scalar<'static>> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

/// A number whose underscores are gone.
pub(super) fn number(text: &str) -> Option<Scalar<'static>> {
    let number = int(text).map(Scalar::Int).or_else(|| uint(text).map(Scalar::Uint));
    // Behind `0b` go-yaml takes a sign, which Go itself does not.
    let signed = || i64::from_str_radix(text.strip_prefix("0b")?, 2).ok().map(Scalar::Int);
    number.or_else(|| float(text).map(Scalar::Float)).or_else(signed)
}

fn int(text: &str) -> Option<i64> {
    let size = uint(text.strip_prefix(['+', '-']).unwrap_or(text))?;
    if text.starts_with('-') { 0_i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() }
}

/// Digits, after `0x`, `0o`, `0b` or `0` to another base.
fn uint(text: &str) -> Option<u64> {
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // Rust would take a plus.
    u64::from_str_radix(digits, base).ok().filter(|_| !digits.starts_with('+'))
}

/// A decimal number with a point or an exponent, or with too many digits for an integer. One that is too large is none.
fn float(text: &str) -> Option<f64> {
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let number = unsigned(text);
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((&number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (exponent, digits) = (unsigned(exponent), [whole, fraction].concat());
    let well_formed = [&digits, &exponent].iter().all(|digits| !digits.is_empty() && is_digits(digits));
    text.parse().ok().filter(|float: &f64| well_formed && float.is_finite())
}

/// Whether each underscore stands between digits. Go wants that where go-yaml has not taken them out before.
fn joins_digits(text: &str) -> bool {
    text.as_bytes()
        .windows(3)
        .filter(|three| three[1] == b'_')
        .all(|three| three[0].is_ascii_digit() && three[2].is_ascii_digit())
        && !text.ends_with('_')
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is a number to the base 60, e.g. `1:30`. go-yaml does not read these, but quotes them for those who do.
pub(super) fn is_sexagesimal(text: &str) -> bool {
    let places = text.strip_prefix(['+', '-']).unwrap_or(text);
    let Some((first, rest)) = places.split_once(':') else {
        return false;
    };
    let (rest, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let loose = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let sixty = |place: &str| matches!(place.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    first.starts_with(|first: char| first.is_ascii_digit())
        && loose(first)
        && rest.split(':').all(sixty)
        && loose(fraction)
}
