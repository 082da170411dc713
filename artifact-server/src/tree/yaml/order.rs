//! The order of keys in a file that go-yaml writes: as a person would sort them.

use std::cmp::Ordering;

/// Sorts keys. Numbers in them go by their value, and other characters before letters.
///
/// It is a merge sort of our own: the order is not a total one for all keys, and then the library's sort may panic.
pub(super) fn sorted<T>(mut entries: Vec<(&String, T)>) -> Vec<(&String, T)> {
    if entries.len() < 2 {
        return entries;
    }
    let right = sorted(entries.split_off(entries.len() / 2));
    let mut right = right.into_iter().peekable();
    let mut merged = Vec::with_capacity(entries.len() + right.len());
    for entry in sorted(entries) {
        while let Some(next) = right.next_if(|next| compare(next.0, entry.0) == Ordering::Less) {
            merged.push(next);
        }
        merged.push(entry);
    }
    merged.extend(right);
    merged
}

/// Compares where two keys begin to differ. As letters count those of Unicode's alphabetic characters, which for some scripts are more than
/// Go's letters, and as digits those of ASCII.
fn compare(left: &str, right: &str) -> Ordering {
    let same = left.chars().zip(right.chars()).take_while(|(one, other)| one == other);
    let at = same.map(|(character, _)| character.len_utf8()).sum();
    let (common, left, right) = (&left[..at], &left[at..], &right[at..]);
    let (Some(one), Some(other)) = (left.chars().next(), right.chars().next()) else {
        return left.len().cmp(&right.len());
    };
    match (one.is_alphabetic(), other.is_alphabetic()) {
        (true, true) => one.cmp(&other),
        (false, false) => {
            // A zero that continues a number is not the start of one.
            let continued = (one == '0' || other == '0') && ends_in_number(common);
            run(left, continued).cmp(&run(right, continued)).then(one.cmp(&other))
        }
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
    }
}

fn ends_in_number(text: &str) -> bool {
    text.bytes().rev().take_while(u8::is_ascii_digit).any(|digit| digit != b'0')
}

/// The value of the digits in front, and how many they are. Go lets the value overflow.
fn run(text: &str, continued: bool) -> (i64, usize) {
    let start = (i64::from(continued), 0);
    text.bytes()
        .take_while(u8::is_ascii_digit)
        .fold(start, |(value, count), digit| (value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')), count + 1))
}
