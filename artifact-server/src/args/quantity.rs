//! Amounts of bytes as Kubernetes writes them: `1Gi`, `500M`, `1.5Gi`, `1e9`, `1048576`.

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A text that is not an amount of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount of bytes: use a number with an optional suffix such as Ki, Mi, Gi, k, M or G")]
pub struct QuantityError(String);

const SUFFIXES: [(&str, u128); 14] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("m", 0), // thousandths: handled apart
];

impl std::str::FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text).and_then(|bytes| u64::try_from(bytes).ok()).map(Self).ok_or_else(|| QuantityError(text.to_owned()))
    }
}

/// The amount, parts of a byte rounded up as Kubernetes does.
fn parse(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let number_end = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') || whole.len() + fraction.len() > 19 {
        return None;
    }
    let value: u128 = format!("{whole}{fraction}").parse().ok()?;
    let below = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let (factor, below) = match exponent(suffix) {
        Some(power) => (10_u128.pow(power), below),
        None if suffix == "m" => (1, below * 1000),
        None => (SUFFIXES.iter().find(|(name, _)| *name == suffix)?.1, below),
    };
    Some(value.checked_mul(factor)?.div_ceil(below))
}

/// The power of ten of `e9` or `E9`.
fn exponent(suffix: &str) -> Option<u32> {
    let power = suffix.strip_prefix(['e', 'E'])?;
    let digits = power.strip_prefix('+').unwrap_or(power);
    digits.parse().ok().filter(|&power| power <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        let rows = [
            ("0", Some(0)),
            ("1048576", Some(1 << 20)),
            ("1Ki", Some(1024)),
            ("1Gi", Some(1 << 30)),
            ("1.5Gi", Some(3 << 29)),
            (".5Mi", Some(1 << 19)),
            ("500M", Some(500_000_000)),
            ("2k", Some(2000)),
            ("1e9", Some(1_000_000_000)),
            ("1E3", Some(1000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("+1Ei", Some(1 << 60)),
            ("1500m", Some(2)),
            ("0.1", Some(1)),
            ("", None),
            ("Gi", None),
            ("-1", None),
            ("1GiB", None),
            ("1 Gi", None),
            ("1K", None),
            ("1.2.3", None),
            ("1e99", None),
            ("99Ei", None),
            ("1e", None),
        ];
        for (text, bytes) in rows {
            assert_eq!(text.parse().ok(), bytes.map(Bytes), "row {text:?}");
        }
    }
}
