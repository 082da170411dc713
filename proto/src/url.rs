//! URLs, as far as artifacts need them.

/// Puts the advertised address in place of the host of a URL; all else stays. An address with a scheme of its own, which may have a path
/// too, replaces the scheme as well and comes in front of the path. `None` when the text is not a URL with a host.
pub fn set_hostname(url: &str, advertised: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let mut letters = scheme.bytes();
    let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let is_clean = |text: &str| !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    if !is_scheme || !is_clean(url) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), authority),
    };
    if host.is_empty() {
        return None;
    }
    if advertised.starts_with("http://") || advertised.starts_with("https://") {
        return Some(format!("{}{rest}", advertised.trim_end_matches('/')));
    }
    Some(format!("{scheme}://{user}{advertised}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_changes() {
        let rows = [
            ("http://old/a/b", "new:9090", Some("http://new:9090/a/b")),
            ("https://old:1/a?x=1#y", "new", Some("https://new/a?x=1#y")),
            ("http://old", "new", Some("http://new")),
            ("http://old?x", "new", Some("http://new?x")),
            ("http://me:secret@old/a", "new", Some("http://me:secret@new/a")),
            ("http://[::1]:9090/a", "[::2]:1", Some("http://[::2]:1/a")),
            ("http://old//a/../b", "new", Some("http://new//a/../b")),
            ("http://old/a", "https://cdn/x", Some("https://cdn/x/a")),
            ("http://old/a", "https://cdn/x/", Some("https://cdn/x/a")),
            ("", "new", None),
            ("old/a", "new", None),
            ("/a/b", "new", None),
            ("http:///a", "new", None),
            ("://old/a", "new", None),
            ("1http://old/a", "new", None),
            ("http://old/a b", "new", None),
            ("http://old/a\n", "new", None),
        ];
        for (url, advertised, expected) in rows {
            assert_eq!(set_hostname(url, advertised).as_deref(), expected, "{url:?}");
        }
    }
}
