//! Names of tar entries: which are taken, and what path they mean.

use super::{Limits, SourceError};
use crate::{quote::quoted, tree::TreePath};

/// Takes the name of a tar entry as Flux does: `.` and empty components are dropped. `None` is the root of the tree. Empty and absolute
/// names, and names with a backslash or `../` in them, are refused; so are those that end in `..`, which Flux takes, and those over the
/// limits; the text of a limit continues one that names the entry.
pub(super) fn clean(name: &[u8], limits: &Limits) -> Result<Option<TreePath>, SourceError> {
    let climbs = name.windows(3).any(|three| three == b"../");
    if name.is_empty() || name.contains(&b'\\') || name.starts_with(b"/") || climbs || name.contains(&0) {
        return Err(invalid(name));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(invalid(name)),
            _ => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Ok(None);
    }
    let path = parts.join(&b'/');
    if parts.len() > limits.depth {
        return Err(SourceError::TooLarge(format!(
            "is more than {} directories deep; raise --source-max-depth",
            limits.depth
        )));
    }
    if path.len() > limits.path_bytes {
        return Err(SourceError::TooLarge(format!("has a path of more than {} bytes", limits.path_bytes)));
    }
    if parts.iter().any(|part| part.len() > limits.name_bytes) {
        return Err(SourceError::TooLarge(format!("has a name of more than {} bytes", limits.name_bytes)));
    }
    TreePath::new(&path).map(Some).map_err(|_| invalid(name))
}

/// The name is not one that may be in a tarball.
pub(super) fn invalid(name: &[u8]) -> SourceError {
    SourceError::Refused(format!("tar contained invalid name error {}", quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_go_takes_them() {
        let limits = Limits { depth: 4, path_bytes: 20, name_bytes: 8, ..Limits::for_cache(1, 1) };
        let bad = |name: &str| Err(format!("tar contained invalid name error {name}"));
        type Row<'a> = (&'a str, &'a [u8], Result<Option<&'a str>, String>);
        let rows: &[Row] = &[
            ("plain", b"a/b", Ok(Some("a/b"))),
            ("§10.10 empty", b"", bad(r#""""#)),
            ("§10.10 backslash", b"a\\b", bad(r#""a\\b""#)),
            ("§10.10 drive letter", b"C:\\x", bad(r#""C:\\x""#)),
            ("§10.10 absolute", b"/etc/passwd", bad(r#""/etc/passwd""#)),
            ("§10.10 leading ../", b"../x", bad(r#""../x""#)),
            ("§10.10 inner ../", b"a/../b", bad(r#""a/../b""#)),
            ("§10.10 ../ after other text", b"a../b", bad(r#""a../b""#)),
            ("faults 25: only ..", b"..", bad(r#""..""#)),
            ("faults 25: .. at the end", b"a/b/..", bad(r#""a/b/..""#)),
            ("faults 25: dots that are a name", b"a/...", Ok(Some("a/..."))),
            ("faults 25: root", b".", Ok(None)),
            ("faults 25: root with a slash", b"./", Ok(None)),
            ("faults 25: leading ./", b"./a/x", Ok(Some("a/x"))),
            ("faults 25: empty and . inside", b"a//./b", Ok(Some("a/b"))),
            ("faults 25: trailing slash", b"a/", Ok(Some("a"))),
            ("faults 25: NUL", b"a\0b", bad(r#""a\x00b""#)),
            ("faults 32: newline is kept", b"a\nb", Ok(Some("a\nb"))),
            ("faults 29: deep", b"a/b/c/d/e", Err("is more than 4 directories deep; raise --source-max-depth".into())),
            ("faults 29: just deep enough", b"a/b/c/d", Ok(Some("a/b/c/d"))),
            ("faults 25: long component", b"123456789", Err("has a name of more than 8 bytes".into())),
            ("faults 25: longest component", b"12345678", Ok(Some("12345678"))),
            ("faults 25: long path", b"1234567/1234567/12345", Err("has a path of more than 20 bytes".into())),
        ];
        for (row, name, expected) in rows {
            let got = clean(name, &limits).map(|path| path.map(|path| path.to_string())).map_err(|error| match error {
                SourceError::Refused(text) | SourceError::TooLarge(text) => text,
                other => panic!("row {row}: {other:?}"),
            });
            assert_eq!(got, expected.clone().map(|path| path.map(str::to_owned)), "row {row}");
        }
        assert_eq!(clean(b"not-utf8-\xff", &Limits::for_cache(1, 1)).unwrap().unwrap().as_bytes(), b"not-utf8-\xff");
    }
}
