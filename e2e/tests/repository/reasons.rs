//! The table of error reasons in docs/grpc.md is the one in the contract.

use std::fs;

use weir_proto::Reason;

use crate::root;

#[test]
fn every_reason_is_documented_with_its_code() {
    let text = fs::read_to_string(root().join("docs/grpc.md")).unwrap();
    let table = text.split("| reason | gRPC code |").nth(1).expect("a table of reasons");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>());
    let documented: Vec<_> = cells.map(|cells| (cells[1].to_owned(), cells[2].to_owned())).collect();
    let real: Vec<_> =
        Reason::ALL.iter().map(|reason| (reason.name().to_owned(), format!("{:?}", reason.code()))).collect();
    assert_eq!(documented, real);
}
