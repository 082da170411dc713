use super::*;

fn error(pattern: &str) -> Option<PatternError> {
    Pattern::parse(pattern).err()
}

#[test]
fn combinations_multiply_and_are_limited() {
    for (pattern, expected) in [
        ("plain", 1),
        ("{a,b}", 2),
        ("{a,b,c}x{d,e}", 6),
        ("{a,{b,c},d}", 4),
        ("{a,{b,c}{d,e}}", 5),
        ("a,b", 1),
        ("\\{a,b\\}", 1),
        ("{a\\,b}", 2),
        // A group of one counts for two, so that there cannot be thousands of them.
        ("{a}{b}", 4),
    ] {
        assert_eq!(combinations(pattern.as_bytes()), expected, "{pattern}");
    }
    assert_eq!(error(&"{a,b}".repeat(10)), None);
    assert_eq!(error(&"{a,b}".repeat(11)), Some(PatternError::TooManyCombinations));
    assert_eq!(error(&"{a".repeat(1000)), Some(PatternError::TooManyCombinations));
    assert_eq!(error(&format!("{{{}}}", ["x"; 1024].join(","))), None);
}

#[test]
fn long_patterns_are_refused() {
    assert_eq!(error(&"a".repeat(4096)), None);
    assert_eq!(error(&"a".repeat(4097)), Some(PatternError::TooLong));
}

#[test]
fn malformed_patterns_are_refused() {
    for pattern in ["[", "[]", "a[b", "{a", "a}", "a\\", "[!]"] {
        assert_eq!(error(pattern), Some(PatternError::Syntax), "{pattern}");
    }
}

/// Without one place to come back to this would take longer than the universe has.
#[test]
fn many_stars_stay_cheap() {
    let pattern = Pattern::parse(&format!("{}b", "*a".repeat(1000))).unwrap();
    assert!(!pattern.matches("a".repeat(4000).as_bytes()));
    let pattern = Pattern::parse(&format!("{}b", "**/*a/".repeat(300))).unwrap();
    assert!(!pattern.matches("a/".repeat(2000).as_bytes()));
}
