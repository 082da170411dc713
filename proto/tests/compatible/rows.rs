//! Each rule, broken once.

use std::fs;

use prost_types::FileDescriptorSet;

use super::{breaking_changes, compile};

const OLD: &str = r#"syntax = "proto3";
package shop.v1;
service Store {
  rpc Put(Item) returns (Part);
  rpc Follow(stream Item) returns (stream Part);
}
message Item {
  string name = 1;
  optional uint32 size = 2;
  oneof body {
    bytes raw = 3;
    string text = 4;
  }
  Kind kind = 5;
  map<string, string> labels = 6;
  repeated Part parts = 7;
  Inner inner = 8;
  message Inner {
    bool deep = 1;
  }
  reserved 20, 30 to 40;
}
message Part {}
message Spare {}
enum Kind {
  KIND_UNSPECIFIED = 0;
  KIND_BIG = 1;
  KIND_SMALL = 2;
  reserved 9;
}
"#;

/// What it shows, what is replaced, by what, and what is said of that.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("nothing", "", "", &[]),
    ("another package", "shop.v1", "shop.v2", &["package shop.v1 is gone"]),
    ("a service that is renamed", "service Store", "service Shop", &["service shop.v1.Store is gone"]),
    ("an rpc that is renamed", "rpc Put", "rpc Set", &["rpc shop.v1.Store.Put is gone"]),
    (
        "an rpc that takes another message",
        "Put(Item)",
        "Put(Part)",
        &["rpc shop.v1.Store.Put takes `shop.v1.Part`, it was `shop.v1.Item`"],
    ),
    (
        "an rpc that returns another message",
        "(Part);\n  rpc",
        "(Item);\n  rpc",
        &["rpc shop.v1.Store.Put returns `shop.v1.Item`, it was `shop.v1.Part`"],
    ),
    (
        "an rpc that takes a stream no more",
        "(stream Item)",
        "(Item)",
        &["rpc shop.v1.Store.Follow takes `shop.v1.Item`, it was `stream shop.v1.Item`"],
    ),
    (
        "an rpc that returns a stream",
        "(Part);\n  rpc",
        "(stream Part);\n  rpc",
        &["rpc shop.v1.Store.Put returns `stream shop.v1.Part`, it was `shop.v1.Part`"],
    ),
    ("a message that goes", "message Spare {}", "", &["message shop.v1.Spare is gone"]),
    (
        "a message that is renamed: also what uses it is another",
        "Inner",
        "Core",
        &[
            "field shop.v1.Item.inner has type `shop.v1.Item.Core`, it had `shop.v1.Item.Inner`",
            "message shop.v1.Item.Inner is gone",
        ],
    ),
    ("a field that goes", "  string name = 1;", "  reserved 1;", &["field shop.v1.Item.name is gone"]),
    (
        "a field that goes, and its number can come back",
        "  string name = 1;",
        "",
        &[
            "field shop.v1.Item.name is gone",
            "shop.v1.Item uses number 1 no more: reserve it, or it will mean something else",
        ],
    ),
    (
        "a field within a message within a message",
        "    bool deep = 1;",
        "    reserved 1;",
        &["field shop.v1.Item.Inner.deep is gone"],
    ),
    ("a field that is renamed", "string name", "string title", &["field shop.v1.Item.name is called title now"]),
    (
        "another number",
        "name = 1",
        "name = 11",
        &[
            "field shop.v1.Item.name has number 11, it had 1",
            "shop.v1.Item uses number 1 no more: reserve it, or it will mean something else",
        ],
    ),
    (
        "two numbers that change places",
        "bytes raw = 3;\n    string text = 4;",
        "bytes raw = 4;\n    string text = 3;",
        &["field shop.v1.Item.raw has number 4, it had 3", "field shop.v1.Item.text has number 3, it had 4"],
    ),
    ("another type", "string name", "bytes name", &["field shop.v1.Item.name has type `bytes`, it had `string`"]),
    (
        "another type in a map",
        "map<string, string>",
        "map<string, int32>",
        &["field shop.v1.Item.LabelsEntry.value has type `int32`, it had `string`"],
    ),
    (
        "a field that there may be many of",
        "string name",
        "repeated string name",
        &["field shop.v1.Item.name has label `repeated`, it had `none`"],
    ),
    (
        "a field that there is one of",
        "repeated Part",
        "Part",
        &["field shop.v1.Item.parts has label `none`, it had `repeated`"],
    ),
    (
        "a field that can not be absent",
        "optional uint32",
        "uint32",
        &["field shop.v1.Item.size has label `none`, it had `optional`"],
    ),
    (
        "a field that leaves its oneof",
        "    string text = 4;\n  }",
        "  }\n  string text = 4;",
        &["field shop.v1.Item.text has oneof `none`, it had `body`"],
    ),
    (
        "a field that enters a oneof",
        "  Kind kind = 5;",
        "  oneof either {\n    Kind kind = 5;\n  }",
        &["field shop.v1.Item.kind has oneof `either`, it had `none`"],
    ),
    (
        "another name in JSON",
        "name = 1",
        "name = 1 [json_name = \"title\"]",
        &["field shop.v1.Item.name has JSON name `title`, it had `name`"],
    ),
    ("a number that is free again", "20, 30", "30", &["shop.v1.Item reserves 20 to 20 no more"]),
    ("a range that shrinks", "30 to 40", "30 to 39", &["shop.v1.Item reserves 30 to 40 no more"]),
    (
        "an enum that is renamed",
        "Kind ",
        "Sort ",
        &["field shop.v1.Item.kind has type `shop.v1.Sort`, it had `shop.v1.Kind`", "enum shop.v1.Kind is gone"],
    ),
    ("a value that goes", "  KIND_SMALL = 2;", "  reserved 2;", &["value shop.v1.Kind.KIND_SMALL is gone"]),
    (
        "a value that goes, and its number can come back",
        "  KIND_SMALL = 2;",
        "",
        &[
            "value shop.v1.Kind.KIND_SMALL is gone",
            "shop.v1.Kind uses number 2 no more: reserve it, or it will mean something else",
        ],
    ),
    ("a value that is renamed", "KIND_BIG", "KIND_HUGE", &["value shop.v1.Kind.KIND_BIG is called KIND_HUGE now"]),
    (
        "another number of a value",
        "KIND_BIG = 1",
        "KIND_BIG = 3",
        &[
            "value shop.v1.Kind.KIND_BIG has number 3, it had 1",
            "shop.v1.Kind uses number 1 no more: reserve it, or it will mean something else",
        ],
    ),
    ("a number of a value that is free again", "  reserved 9;", "", &["shop.v1.Kind reserves 9 to 9 no more"]),
    // Additions.
    ("another rpc", "service Store {", "service Store {\n  rpc Get(Item) returns (Item);", &[]),
    ("another service", "message Part {}", "message Part {}\nservice More {}", &[]),
    (
        "another message, with another enum",
        "message Part {}",
        "message Part {}\nmessage New { enum E { A = 0; } }",
        &[],
    ),
    ("another field", "message Part {}", "message Part {\n  string note = 1;\n}", &[]),
    ("another one of a oneof", "    bytes raw = 3;", "    bytes raw = 3;\n    bool none = 9;", &[]),
    ("another value", "KIND_BIG = 1;", "KIND_BIG = 1;\n  KIND_HUGE = 3;", &[]),
    ("more that is reserved", "30 to 40", "30 to 50", &[]),
    ("another order", "message Part {}\nmessage Spare {}", "message Spare {}\nmessage Part {}", &[]),
];

fn descriptor(text: &str) -> FileDescriptorSet {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.proto"), text).unwrap();
    compile(folder.path(), &["shop.proto".to_owned()])
}

#[test]
fn each_rule_is_seen_when_it_is_broken() {
    let old = descriptor(OLD);
    for (row, find, replacement, expected) in ROWS {
        assert!(OLD.contains(find), "{row}: there is no {find:?}");
        let new = descriptor(&OLD.replace(find, replacement));
        assert_eq!(breaking_changes(&old, &new), *expected, "{row}");
    }
}
