//! Numbers as Go writes them. All forms show as many digits as it takes to read the number back, and no more.

use super::resolve::{Scalar, number};

/// As the reference writes a number: it becomes JSON, is read as YAML, and an integer if it looks like one.
pub(super) fn yaml(value: f64) -> String {
    let (digits, exponent) = digits(&format!("{:e}", value.abs()));
    let far = value != 0.0 && !(1e-6..1e21).contains(&value.abs());
    let json = if far { scientific(&digits, exponent, 1) } else { positional(&digits, exponent) };
    let json = signed(value.is_sign_negative(), &json);
    match number(&json) {
        Some(Scalar::Int(int)) => int.to_string(),
        Some(Scalar::Uint(int)) => int.to_string(),
        _ => general(&format!("{:e}", value.abs()), value.is_sign_negative()),
    }
}

/// As a key: with the digits of a 32-bit float.
pub(super) fn key(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "as the reference does")]
    let value = value as f32;
    match value {
        f32::INFINITY => ".inf".to_owned(),
        f32::NEG_INFINITY => "-.inf".to_owned(),
        _ if value.is_nan() => ".nan".to_owned(),
        _ => general(&format!("{:e}", value.abs()), value.is_sign_negative()),
    }
}

/// Go's format `g`.
fn general(written: &str, negative: bool) -> String {
    let (digits, exponent) = digits(written);
    let text =
        if (-4..6).contains(&exponent) { positional(&digits, exponent) } else { scientific(&digits, exponent, 2) };
    signed(negative, &text)
}

fn signed(negative: bool, text: &str) -> String {
    format!("{}{text}", if negative { "-" } else { "" })
}

/// The digits and the exponent of the first: `1.5e3` is ("15", 3).
fn digits(written: &str) -> (String, i32) {
    let (mantissa, exponent) = written.split_once('e').unwrap_or((written, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or_default())
}

/// `1.5e+03`, the exponent with at least so many digits.
fn scientific(digits: &str, exponent: i32, least: usize) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:0least$}", exponent.unsigned_abs())
}

/// `1500`, `0.0015`.
fn positional(digits: &str, exponent: i32) -> String {
    let Ok(exponent) = usize::try_from(exponent) else {
        let zeros = exponent.unsigned_abs() as usize - 1;
        return format!("0.{}{digits}", "0".repeat(zeros));
    };
    match digits.split_at_checked(exponent + 1) {
        Some((whole, "")) => whole.to_owned(),
        Some((whole, fraction)) => format!("{whole}.{fraction}"),
        None => format!("{digits:0<width$}", width = exponent + 1),
    }
}
