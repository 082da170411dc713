//! The syntax of label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.

/// Says what is wrong with a selector. An empty one is right: it selects everything.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = end_of_requirement(rest);
        let (requirement, after) = rest.split_at(end);
        if !is_requirement(requirement.trim()) {
            return Err(format!(
                "unable to configure watch label selector for manager: {:?} is not valid, use key=value, key!=value, \
                 key in (a,b), key notin (a,b), key>1, key<1, key or !key, joined by commas",
                requirement.trim()
            ));
        }
        rest = after.strip_prefix(',').map_or("", str::trim_start);
        if after.len() == 1 {
            return Err("unable to configure watch label selector for manager: it ends with a comma".to_owned());
        }
    }
    Ok(())
}

/// Where the first comma outside of brackets lies.
fn end_of_requirement(text: &str) -> usize {
    let mut within = false;
    let end = text.find(|letter| {
        within = (within || letter == '(') && letter != ')';
        letter == ',' && !within
    });
    end.unwrap_or(text.len())
}

fn is_requirement(text: &str) -> bool {
    if let Some(key) = text.strip_prefix('!') {
        return is_key(key.trim());
    }
    for operator in ["!=", "==", "="] {
        if let Some((key, value)) = text.split_once(operator) {
            return is_key(key.trim()) && is_value(value.trim());
        }
    }
    // The API server compares 64-bit integers.
    if let Some((key, value)) = text.split_once(['>', '<']) {
        return is_key(key.trim()) && value.trim().parse::<i64>().is_ok() && is_value(value.trim());
    }
    let Some((key, rest)) = text.split_once(char::is_whitespace) else { return is_key(text) };
    let set = rest.trim_start();
    let set = set.strip_prefix("notin").or_else(|| set.strip_prefix("in")).map(str::trim);
    let values = set.and_then(|set| set.strip_prefix('(')?.strip_suffix(')'));
    is_key(key) && values.is_some_and(|values| values.split(',').all(|value| is_value(value.trim())))
}

/// `[prefix/]name`: the prefix a DNS subdomain, the name 63 characters at most.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_is_valid = prefix.is_none_or(|prefix| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        !prefix.is_empty() && prefix.len() <= 253 && prefix.bytes().all(allowed)
    });
    prefix_is_valid && !name.is_empty() && is_value(name)
}

/// 63 characters at most, alphanumeric at both ends; may be empty.
fn is_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let alphanumeric = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn syntax_of_selectors() {
        let good = [
            "",
            "sharding.fluxcd.io/key=shard1",
            "sharding.fluxcd.io/key==shard1",
            "a!=b",
            "!sharding.fluxcd.io/key",
            "a",
            "a=",
            "a in (b, c),d notin (e),!f",
            " a = b , c ",
            "a>1,b < 20",
        ];
        for text in good {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        let long = format!("a={}", "b".repeat(64));
        for text in [
            "=b", "a in b", "a in (b", "a b", "-a=b", "a=b c", "a,", ",a", "/a", "a//b", "a=(b)", "!", "a>b", "a<",
            ">1", "a>=1", "a>-1", &long,
        ] {
            let error = check(text).unwrap_err();
            assert!(error.starts_with("unable to configure watch label selector for manager"), "{text:?}: {error}");
        }
    }
}
