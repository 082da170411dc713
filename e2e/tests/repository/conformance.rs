//! The conformance cases leave out no RPC of the contract and no reason of an error.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_e2e::conformance::case::{self, Case, Step, Transport};
use weir_e2e::conformance::rust;
use weir_proto::Reason;

/// Fewest cases that a client of one transport must pass.
const FEWEST: usize = 120;

/// Reasons that no client can bring about at will, and why.
const EXEMPT: [(Reason, &str); 2] = [
    (Reason::StorageFull, "the volume must be full: `artifact-server/src/storage/error.rs` has the rows"),
    (Reason::Internal, "it is a bug"),
];

/// What the cases of one transport lack.
fn gaps(cases: &[Case]) -> Vec<String> {
    let mut gaps = Vec::new();
    if cases.len() < FEWEST {
        gaps.push(format!("only {} cases", cases.len()));
    }
    let mut names = BTreeSet::new();
    gaps.extend(cases.iter().filter(|case| !names.insert(&case.name)).map(|case| format!("{} twice", case.name)));
    let label = |name: &str| {
        name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    gaps.extend(cases.iter().filter(|case| !label(&case.name)).map(|case| format!("{} is no label", case.name)));
    let steps = || cases.iter().flat_map(|case| &case.steps);
    let does = |step: &Step| [&step.call, &step.on, &step.close, &step.tell].into_iter().flatten().count();
    gaps.extend(steps().filter(|step| does(step) != 1).map(|step| format!("not one thing: {step:?}")));
    let called: BTreeSet<&str> = steps().filter_map(|step| step.call.as_deref()).collect();
    let methods = rust::methods().unwrap();
    assert!(methods.len() > 20, "{} RPCs", methods.len());
    gaps.extend(methods.iter().filter(|rpc| !called.contains(rpc.name())).map(|rpc| format!("no {}", rpc.name())));
    let expected: BTreeSet<String> = steps().flat_map(reasons).collect();
    for reason in Reason::ALL {
        let exempt = EXEMPT.iter().any(|(exempt, _)| exempt == reason);
        if exempt == expected.contains(reason.name()) {
            gaps.push(format!("{}: {}", reason.name(), if exempt { "is not exempt" } else { "no case" }));
        }
    }
    gaps
}

/// The reasons that a step expects: of the call, and in its answers.
fn reasons(step: &Step) -> Vec<String> {
    let mut found: Vec<String> = step.error.iter().filter_map(|error| error.reason.clone()).collect();
    let results = step.answers.iter().flatten().map(|answer| &answer["result"]["error"]["reason"]);
    found.extend(results.filter_map(Value::as_str).map(str::to_owned));
    found
}

#[test]
fn every_rpc_and_every_reason_has_a_case_over_each_transport() {
    for transport in [Transport::Unix, Transport::Mtls] {
        let gaps = gaps(&case::of(transport).unwrap());
        assert!(gaps.is_empty(), "over {}: {gaps:#?}", transport.name());
    }
}

#[test]
fn a_gap_is_seen() {
    let all = case::of(Transport::Unix).unwrap();
    let without = |keep: &dyn Fn(&Step) -> bool| {
        let kept = all.iter().filter(|case| case.steps.iter().all(keep)).cloned();
        gaps(&kept.collect::<Vec<_>>())
    };
    let rpc = without(&|step| step.call.as_deref() != Some("FindDirectories"));
    assert_eq!(rpc, ["no FindDirectories"]);
    let reason = without(&|step| !reasons(step).contains(&"LOCK_LOST".to_owned()));
    assert_eq!(reason, ["LOCK_LOST: no case"]);
    assert!(gaps(&all[..FEWEST - 1]).contains(&format!("only {} cases", FEWEST - 1)));
    let twice: Vec<Case> = all.iter().chain(&all[..1]).cloned().collect();
    assert_eq!(gaps(&twice), [format!("{} twice", all[0].name)]);
    let mut odd = all.clone();
    odd[0].name = "Not a label".to_owned();
    odd[1].steps[0].tell = Some("damage".to_owned());
    let odd = gaps(&odd);
    assert!(odd.len() == 2 && odd[0] == "Not a label is no label" && odd[1].starts_with("not one thing"), "{odd:?}");
}
