//! The rows of Merge. What YAML means is in the vectors of `tree/yaml`; here is when and where files are merged.

use super::Row;

/// Every rule of 10.9.
pub(super) const RULES: &[&str] = &[
    "10.9 a file is merged into the one that is there",
    "10.9 where none is there it is copied as it is",
    "10.9 destinations are those of Overwrite",
    "10.9 files in copied directories are not merged",
    "10.9 excludes hold",
    "10.9 several merges",
    "10.9 documents are split at ---",
    "10.9 nothing may stand behind ---",
    "10.9 documents are merged from the first to the last",
    "10.9 nothing at all counts as {}",
    "10.9 a document is a map",
    "10.9 what follows ... is not read",
    "10.9 JSON is YAML",
    "10.9 a directory can not be merged into",
    "10.9 the source wins",
    "10.9 maps are merged at any depth",
    "10.9 all else is replaced whole",
    "10.9 null replaces and stays",
    "10.9 comments, anchors and order go",
    "10.9 keys are sorted as people do",
    "10.9 lists stand under their key",
    "10.9 long texts are folded, lines are kept",
    "10.9 nothing is {}",
    "10.9 the mode of the file that is there stays",
    "10.9 numbers are floats",
    "10.9 words of YAML 1.1",
    "10.9 other bases and underscores",
    "10.9 dates stay texts",
    "10.9 of equal keys the last counts",
    "10.9 merge keys are carried out",
    "10.9 keys that JSON can not have",
    "10.9 values that no merge touches",
    "10.9 the file at fault is named",
    "10.9 budgets",
    "10.9 a failing match is named",
];

/// Source `y`.
pub(super) fn files() -> Vec<(&'static str, Vec<u8>)> {
    let large = format!("a: {}\n", "x".repeat(8 * 1024 * 1024));
    let deep = format!("a: {}{}\n", "[".repeat(1000), "]".repeat(1000));
    let bomb = (0..9).map(|n| format!("l{}: &l{} [{}]\n", n + 1, n + 1, vec![format!("*l{n}"); 9].join(", ")));
    let bomb = format!("l0: &l0 [ha]\n{}", bomb.collect::<String>());
    let files: &[(&str, &str)] = &[
        ("base.yaml", "# kept?\nmap: {x: 1, w: 1}\nlist: [1, 2]\na: 1 # no\n"),
        ("over.yaml", "map: {w: 2, z: 2}\nlist: [3]\nb: 2\n"),
        ("deep.yaml", "map: {x: {p: {q: 1, r: 1}}}\n"),
        ("deeper.yaml", "map: {x: {p: {r: 2, s: 2}}}\n"),
        ("scalar.yaml", "map: 1\nlist: {x: 1}\na: [1]\n"),
        ("null.yaml", "map: null\nlist: ~\na:\n"),
        ("order.yaml", "v10: 1\nv9: 1\nB: 1\na: 1\n_: 1\nx: &x {p: 1}\nw: *x\n"),
        ("docs.yaml", "a: 1\nb: 1\n---\nb: 2\nc: 2\n--- # last\nc: 3\n"),
        ("separator.yaml", "--- {a: 1}\n"),
        ("ended.yaml", "a: 2\n...\n] not looked at\n"),
        ("empty.yaml", ""),
        ("comment.yaml", "# nothing\n"),
        ("nothing.yaml", "---\nnull\n---\n"),
        ("list.yaml", "- a\n"),
        ("text.yaml", "text\n"),
        ("values.json", "{\"a\": 1.0, \"map\": {\"x\": null}}\n"),
        ("broken.yaml", "a: b: c\n"),
        ("not.txt", "no: yaml: at all\n"),
        ("numbers.yaml", "f: 1.0\ng: 2.50\nh: 9007199254740993\ni: 1e3\n"),
        ("words.yaml", "on: yes\nn: off\nno: \"yes\"\n"),
        ("bases.yaml", "a: 0755\nb: 0x1F\nc: 1_000\nd: \"0755\"\n0x10: e\n"),
        ("dates.yaml", "a: 2001-01-01\n2001-01-02: b\n"),
        ("twice.yaml", "a: 1\nmap: {x: 1}\na: 2\nmap: {w: 1}\n"),
        ("keys.yaml", "base: &base {p: 1, q: 1}\nc:\n  <<: *base\n  q: 2\n"),
        ("key-null.yaml", "~: 1\n"),
        ("key-map.yaml", "{a: 1}: 1\n"),
        ("infinite.yaml", "a: .inf\n"),
        ("lists.yaml", "a:\n  - b: 1\n    c: 2\n  - [d, e]\n"),
        ("dir/base.yaml", "a: from the directory\n"),
        ("dir/sub/over.yaml", "a: deeper\n"),
        ("mode/base.yaml*", "a: 1\n"),
    ];
    let texts = format!("long: {}\nlines: |\n  one\n  two\n", "word ".repeat(20));
    let made = [("large.yaml", large), ("nested.yaml", deep), ("bomb.yaml", bomb), ("texts.yaml", texts)];
    let files = files.iter().map(|(path, text)| (*path, text.as_bytes().to_vec()));
    files.chain(made.map(|(path, text)| (path, text.into_bytes()))).collect()
}

/// The rows, by rule.
pub(super) const ROWS: &[Row] = &[
    Row(
        "10.9 a file is merged into the one that is there",
        "by name",
        &["@y/base.yaml -> @artifact/values.yaml", "Merge: @y/over.yaml -> @artifact/values.yaml"],
        Ok("values.yaml=a: 1\nb: 2\nlist:\n- 3\nmap:\n  w: 2\n  x: 1\n  z: 2\n"),
    ),
    Row(
        "10.9 a file is merged into the one that is there",
        "found by a pattern",
        &["@y/dir/base.yaml -> @artifact/dir/", "Merge: @y/dir/b*.yaml -> @artifact/"],
        Ok("dir/ dir/base.yaml=a: from the directory\n"),
    ),
    Row(
        "10.9 a file is merged into the one that is there",
        "one that Merge itself has put there",
        &["Merge: @y/base.yaml -> @artifact/v", "Merge: @y/null.yaml -> @artifact/v"],
        Ok("v=a: null\nlist: null\nmap: null\n"),
    ),
    Row(
        "10.9 where none is there it is copied as it is",
        "no YAML at all",
        &["Merge: @y/not.txt -> @artifact/"],
        Ok("not.txt=no: yaml: at all\n"),
    ),
    Row(
        "10.9 where none is there it is copied as it is",
        "with its comments",
        &["Merge: @y/comment.yaml -> @artifact/to/a.yaml"],
        Ok("to/ to/a.yaml=# nothing\n"),
    ),
    Row(
        "10.9 where none is there it is copied as it is",
        "found by a pattern, the path is kept",
        &["Merge: @y/dir/sub/* -> @artifact/"],
        Ok("dir/ dir/sub/ dir/sub/over.yaml=a: deeper\n"),
    ),
    Row(
        "10.9 destinations are those of Overwrite",
        "a slash: into a directory",
        &["@y/base.yaml -> @artifact/to/", "Merge: @y/scalar.yaml -> @artifact/to/"],
        Ok(
            "to/ to/base.yaml=# kept?\nmap: {x: 1, w: 1}\nlist: [1, 2]\na: 1 # no\n to/scalar.yaml=map: 1\nlist: {x: 1}\na: [1]\n",
        ),
    ),
    Row(
        "10.9 destinations are those of Overwrite",
        "an existing directory: into it",
        &["@y/dir -> @artifact/", "Merge: @y/mode/base.yaml -> @artifact/dir"],
        Ok("dir/ dir/base.yaml=a: 1\n dir/sub/ dir/sub/over.yaml=a: deeper\n"),
    ),
    Row(
        "10.9 destinations are those of Overwrite",
        "dir/**: the prefix is taken off",
        &["@y/dir/base.yaml -> @artifact/", "Merge: @y/mode/** -> @artifact/"],
        Ok("base.yaml=a: 1\n"),
    ),
    Row(
        "10.9 destinations are those of Overwrite",
        "nothing above the artifact",
        &["Merge: @y/base.yaml -> @artifact/../x"],
        Err("destination '../x': path escapes from parent"),
    ),
    Row(
        "10.9 files in copied directories are not merged",
        "a directory",
        &["@y/base.yaml -> @artifact/dir/", "Merge: @y/dir -> @artifact/ ! sub"],
        Ok("dir/ dir/base.yaml=a: from the directory\n"),
    ),
    Row(
        "10.9 files in copied directories are not merged",
        "a directory found by a pattern",
        &["@y/base.yaml -> @artifact/dir/", "Merge: @y/d* -> @artifact/ ! sub ! d*.yaml"],
        Ok("dir/ dir/base.yaml=a: from the directory\n"),
    ),
    Row(
        "10.9 files in copied directories are not merged",
        "a directory below dir/**",
        &["@y/base.yaml -> @artifact/sub/over.yaml", "Merge: @y/dir/** -> @artifact/ ! base.yaml"],
        Ok("sub/ sub/over.yaml=a: deeper\n"),
    ),
    Row(
        "10.9 excludes hold",
        "the file itself",
        &["@y/mode/base.yaml -> @artifact/v", "Merge: @y/broken.yaml -> @artifact/v ! broken.*"],
        Ok("v*=a: 1\n"),
    ),
    Row(
        "10.9 excludes hold",
        "all of a pattern",
        &["Merge: @y/b*.yaml -> @artifact/ ! *.yaml"],
        Err("all files matching pattern 'b*.yaml' in source 'y' were excluded"),
    ),
    Row(
        "10.9 several merges",
        "one after the other",
        &[
            "@y/mode/base.yaml -> @artifact/v",
            "Merge: @y/over.yaml -> @artifact/v",
            "Merge: @y/ended.yaml -> @artifact/v",
            "Merge: @y/scalar.yaml -> @artifact/v",
        ],
        Ok("v*=a:\n- 1\nb: 2\nlist:\n  x: 1\nmap: 1\n"),
    ),
    Row(
        "10.9 several merges",
        "Overwrite forgets them",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/over.yaml -> @artifact/v", "@y/list.yaml -> @artifact/v"],
        Ok("v=- a\n"),
    ),
    Row(
        "10.9 several merges",
        "copying what was merged does not exist, sources stay as they are",
        &[
            "@y/mode/base.yaml -> @artifact/a",
            "Merge: @y/ended.yaml -> @artifact/a",
            "@y/mode/base.yaml -> @artifact/b",
        ],
        Ok("a*=a: 2\n b*=a: 1\n"),
    ),
    Row(
        "10.9 documents are split at ---",
        "in the source",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/docs.yaml -> @artifact/v"],
        Ok("v=a: 1\nb: 2\nc: 3\n"),
    ),
    Row(
        "10.9 documents are split at ---",
        "in the artifact",
        &["@y/docs.yaml -> @artifact/v", "Merge: @y/empty.yaml -> @artifact/v"],
        Ok("v=a: 1\nb: 2\nc: 3\n"),
    ),
    Row(
        "10.9 nothing may stand behind ---",
        "a document on the same line",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/separator.yaml -> @artifact/v"],
        Err(
            "error reading YAML document: invalid Yaml document separator: {a: 1} (file 'separator.yaml' of source 'y')",
        ),
    ),
    Row(
        "10.9 documents are merged from the first to the last",
        "on both sides",
        &["@y/docs.yaml -> @artifact/v", "Merge: @y/docs.yaml -> @artifact/v"],
        Ok("v=a: 1\nb: 2\nc: 3\n"),
    ),
    Row(
        "10.9 nothing at all counts as {}",
        "an empty file",
        &["@y/mode/base.yaml -> @artifact/v", "Merge: @y/empty.yaml -> @artifact/v"],
        Ok("v*=a: 1\n"),
    ),
    Row(
        "10.9 nothing at all counts as {}",
        "comments",
        &["@y/comment.yaml -> @artifact/v", "Merge: @y/mode/base.yaml -> @artifact/v"],
        Ok("v=a: 1\n"),
    ),
    Row(
        "10.9 nothing at all counts as {}",
        "documents of null",
        &["@y/nothing.yaml -> @artifact/v", "Merge: @y/mode/base.yaml -> @artifact/v"],
        Ok("v=a: 1\n"),
    ),
    Row(
        "10.9 a document is a map",
        "a list in the source",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/list.yaml -> @artifact/v"],
        Err(
            "cannot unmarshal YAML document: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array \
             into Go value of type map[string]interface {} (file 'list.yaml' of source 'y')",
        ),
    ),
    Row(
        "10.9 a document is a map",
        "a text in the artifact",
        &["@y/text.yaml -> @artifact/to/v", "Merge: @y/base.yaml -> @artifact/to/v"],
        Err(
            "cannot unmarshal YAML document: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string \
             into Go value of type map[string]interface {} (file 'to/v' of the artifact)",
        ),
    ),
    Row(
        "10.9 what follows ... is not read",
        "broken as it is",
        &["@y/mode/base.yaml -> @artifact/v", "Merge: @y/ended.yaml -> @artifact/v"],
        Ok("v*=a: 2\n"),
    ),
    Row(
        "10.9 JSON is YAML",
        "merged into YAML",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/values.json -> @artifact/v"],
        Ok("v=a: 1\nlist:\n- 1\n- 2\nmap:\n  w: 1\n  x: null\n"),
    ),
    Row(
        "10.9 a directory can not be merged into",
        "a directory of that name",
        &["@y/mode -> @artifact/base.yaml/", "Merge: @y/base.yaml -> @artifact/"],
        Err("error reading YAML document: read base.yaml: is a directory"),
    ),
    Row(
        "10.9 the source wins",
        "a value",
        &[
            "@y/mode/base.yaml -> @artifact/v",
            "Merge: @y/ended.yaml -> @artifact/v",
            "Merge: @y/mode/base.yaml -> @artifact/v",
        ],
        Ok("v*=a: 1\n"),
    ),
    Row(
        "10.9 maps are merged at any depth",
        "three levels down",
        &["@y/deep.yaml -> @artifact/v", "Merge: @y/deeper.yaml -> @artifact/v"],
        Ok("v=map:\n  x:\n    p:\n      q: 1\n      r: 2\n      s: 2\n"),
    ),
    Row(
        "10.9 all else is replaced whole",
        "map by scalar, list by map, scalar by list",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/scalar.yaml -> @artifact/v"],
        Ok("v=a:\n- 1\nlist:\n  x: 1\nmap: 1\n"),
    ),
    Row(
        "10.9 all else is replaced whole",
        "scalar by map",
        &["@y/scalar.yaml -> @artifact/v", "Merge: @y/base.yaml -> @artifact/v"],
        Ok("v=a: 1\nlist:\n- 1\n- 2\nmap:\n  w: 1\n  x: 1\n"),
    ),
    Row(
        "10.9 null replaces and stays",
        "over all kinds",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/null.yaml -> @artifact/v"],
        Ok("v=a: null\nlist: null\nmap: null\n"),
    ),
    Row(
        "10.9 null replaces and stays",
        "and is replaced itself",
        &["@y/null.yaml -> @artifact/v", "Merge: @y/deep.yaml -> @artifact/v"],
        Ok("v=a: null\nlist: null\nmap:\n  x:\n    p:\n      q: 1\n      r: 1\n"),
    ),
    Row(
        "10.9 comments, anchors and order go",
        "even if nothing is merged",
        &["@y/order.yaml -> @artifact/v", "Merge: @y/empty.yaml -> @artifact/v"],
        Ok("v=_: 1\nB: 1\na: 1\nv9: 1\nv10: 1\nw:\n  p: 1\nx:\n  p: 1\n"),
    ),
    Row(
        "10.9 keys are sorted as people do",
        "numbers by value, marks before letters",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/order.yaml -> @artifact/v"],
        Ok("v=_: 1\nB: 1\na: 1\nv9: 1\nv10: 1\nw:\n  p: 1\nx:\n  p: 1\n"),
    ),
    Row(
        "10.9 lists stand under their key",
        "lists of maps and lists",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/lists.yaml -> @artifact/v"],
        Ok("v=a:\n- b: 1\n  c: 2\n- - d\n  - e\n"),
    ),
    Row(
        "10.9 long texts are folded, lines are kept",
        "near column 80",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/texts.yaml -> @artifact/v"],
        Ok(
            "v=lines: |\n  one\n  two\nlong: word word word word word word word word word word word word word word word word\n  word word word word\n",
        ),
    ),
    Row(
        "10.9 nothing is {}",
        "two files of nothing",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/comment.yaml -> @artifact/v"],
        Ok("v={}\n"),
    ),
    Row(
        "10.9 the mode of the file that is there stays",
        "executable",
        &["@y/mode/base.yaml -> @artifact/v", "Merge: @y/ended.yaml -> @artifact/v"],
        Ok("v*=a: 2\n"),
    ),
    Row(
        "10.9 the mode of the file that is there stays",
        "not executable",
        &["@y/ended.yaml -> @artifact/v", "Merge: @y/mode/base.yaml -> @artifact/v"],
        Ok("v=a: 1\n"),
    ),
    Row(
        "10.9 numbers are floats",
        "zeros and the 53 bits",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/numbers.yaml -> @artifact/v"],
        Ok("v=f: 1\ng: 2.5\nh: 9007199254740992\ni: 1000\n"),
    ),
    Row(
        "10.9 words of YAML 1.1",
        "as values and as keys",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/words.yaml -> @artifact/v"],
        Ok("v=\"false\": \"yes\"\n\"true\": true\n"),
    ),
    Row(
        "10.9 other bases and underscores",
        "unless quoted",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/bases.yaml -> @artifact/v"],
        Ok("v=\"16\": e\na: 493\nb: 31\nc: 1000\nd: \"0755\"\n"),
    ),
    Row(
        "10.9 dates stay texts",
        "quoted",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/dates.yaml -> @artifact/v"],
        Ok("v=\"2001-01-02\": b\na: \"2001-01-01\"\n"),
    ),
    Row(
        "10.9 of equal keys the last counts",
        "maps are not merged within a document",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/twice.yaml -> @artifact/v"],
        Ok("v=a: 2\nmap:\n  w: 1\n"),
    ),
    Row(
        "10.9 merge keys are carried out",
        "an anchor",
        &["@y/empty.yaml -> @artifact/v", "Merge: @y/keys.yaml -> @artifact/v"],
        Ok("v=base:\n  p: 1\n  q: 1\nc:\n  p: 1\n  q: 2\n"),
    ),
    Row(
        "10.9 keys that JSON can not have",
        "null",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/key-null.yaml -> @artifact/v"],
        Err("cannot unmarshal YAML document: error converting YAML to JSON: unsupported map key: null \
             (file 'key-null.yaml' of source 'y')"),
    ),
    Row(
        "10.9 keys that JSON can not have",
        "a map",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/key-map.yaml -> @artifact/v"],
        Err("cannot unmarshal YAML document: error converting YAML to JSON: yaml: invalid map key: a map \
             (file 'key-map.yaml' of source 'y')"),
    ),
    Row(
        "10.9 keys that JSON can not have",
        "a value that it can not have either",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/infinite.yaml -> @artifact/v"],
        Err("cannot unmarshal YAML document: error converting YAML to JSON: json: unsupported value: +Inf \
             (file 'infinite.yaml' of source 'y')"),
    ),
    Row(
        "10.9 values that no merge touches",
        "are written anew too",
        &["@y/bases.yaml -> @artifact/v", "Merge: @y/ended.yaml -> @artifact/v"],
        Ok("v=\"16\": e\na: 2\nb: 31\nc: 1000\nd: \"0755\"\n"),
    ),
    Row(
        "10.9 the file at fault is named",
        "in the source, which is read first",
        &["@y/list.yaml -> @artifact/v", "Merge: @y/broken.yaml -> @artifact/v"],
        Err(
            "cannot unmarshal YAML document: error converting YAML to JSON: yaml: mapping values are not allowed in this context \
             (file 'broken.yaml' of source 'y')",
        ),
    ),
    Row(
        "10.9 the file at fault is named",
        "in the artifact",
        &["@y/broken.yaml -> @artifact/v", "Merge: @y/base.yaml -> @artifact/v"],
        Err(
            "cannot unmarshal YAML document: error converting YAML to JSON: yaml: mapping values are not allowed in this context \
             (file 'v' of the artifact)",
        ),
    ),
    Row(
        "10.9 budgets",
        "a large file",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/large.yaml -> @artifact/v"],
        Err(
            "error reading YAML document: the file is larger than 8388608 bytes, which is the most that can be merged \
             (file 'large.yaml' of source 'y')",
        ),
    ),
    Row(
        "10.9 budgets",
        "a large file in the artifact",
        &["@y/large.yaml -> @artifact/v", "Merge: @y/base.yaml -> @artifact/v"],
        Err(
            "error reading YAML document: the file is larger than 8388608 bytes, which is the most that can be merged \
             (file 'v' of the artifact)",
        ),
    ),
    Row(
        "10.9 budgets",
        "a large file that is only copied",
        &["Merge: @y/nested.yaml -> @artifact/v", "@y/empty.yaml -> @artifact/v"],
        Ok("v="),
    ),
    Row(
        "10.9 budgets",
        "deep nesting",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/nested.yaml -> @artifact/v"],
        Err("cannot unmarshal YAML document: error converting YAML to JSON: \
             the document has more than 256 maps and lists one inside the other (file 'nested.yaml' of source 'y')"),
    ),
    Row(
        "10.9 budgets",
        "aliases of aliases",
        &["@y/base.yaml -> @artifact/v", "Merge: @y/bomb.yaml -> @artifact/v"],
        Err(
            "cannot unmarshal YAML document: error converting YAML to JSON: yaml: document contains excessive aliasing \
             (file 'bomb.yaml' of source 'y')",
        ),
    ),
    Row(
        "10.9 a failing match is named",
        "one of a pattern",
        &["@y/base.yaml -> @artifact/broken.yaml", "Merge: @y/br* -> @artifact/"],
        Err("failed to copy file 'broken.yaml' to 'broken.yaml': cannot unmarshal YAML document: \
             error converting YAML to JSON: yaml: mapping values are not allowed in this context (file 'broken.yaml' of source 'y')"),
    ),
];
