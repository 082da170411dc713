//! Operations that need not find anything: a field of Weir's own.

use super::Row;

pub(super) const RULES: &[&str] =
    &["optional: what is absent is skipped", "optional: what is there is copied", "optional: other errors stay"];

pub(super) const ROWS: &[Row] = &[
    Row(
        "optional: what is absent is skipped",
        "a path",
        &["@s/none -> @artifact/ optional", "@s/README.md -> @artifact/"],
        Ok("README.md"),
    ),
    Row("optional: what is absent is skipped", "no destination is made", &["@s/none -> @artifact/d/ optional"], Ok("")),
    Row(
        "optional: what is absent is skipped",
        "a path behind a file",
        &["@s/README.md/x -> @artifact/ optional"],
        Ok(""),
    ),
    Row("optional: what is absent is skipped", "a pattern", &["@s/none/* -> @artifact/ optional"], Ok("")),
    Row(
        "optional: what is absent is skipped",
        "a pattern of excluded files",
        &["@s/config/*.md -> @artifact/ ! *.md optional"],
        Ok(""),
    ),
    Row(
        "optional: what is absent is skipped",
        "Merge",
        &["Merge: @s/none.yaml -> @artifact/app.yaml optional"],
        Ok(""),
    ),
    Row(
        "optional: what is absent is skipped",
        "Extract of a path",
        &["Extract: @s/none.tgz -> @artifact/ optional"],
        Ok(""),
    ),
    Row(
        "optional: what is absent is skipped",
        "Extract of a pattern",
        &["Extract: @s/none/** -> @artifact/ optional"],
        Ok(""),
    ),
    Row("optional: what is there is copied", "a path", &["@s/README.md -> @artifact/ optional"], Ok("README.md")),
    Row("optional: what is there is copied", "a pattern", &["@s/apps/web/** -> @artifact/ optional"], Ok("app.yaml")),
    Row(
        "optional: other errors stay",
        "an unknown alias",
        &["@none/x -> @artifact/ optional"],
        Err("source alias 'none' not found"),
    ),
    Row(
        "optional: other errors stay",
        "a path above the source",
        &["@s/../x -> @artifact/ optional"],
        Err("failed to stat source '../x': path escapes from parent"),
    ),
    Row(
        "optional: other errors stay",
        "a pattern that is none",
        &["@s/[ -> @artifact/ optional"],
        Err("invalid glob pattern '[': syntax error in pattern"),
    ),
    Row(
        "optional: other errors stay",
        "a directory that can not be extracted",
        &["Extract: @s/config -> @artifact/ optional"],
        Err("extract strategy is not supported for directories, got 'config'"),
    ),
];
