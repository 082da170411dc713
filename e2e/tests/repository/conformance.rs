//! The conformance cases leave out no RPC of the contract, and no error or answer that its comments promise: of each RPC, and of each
//! field of a request.

use std::collections::BTreeSet;

use weir_e2e::conformance::case::{self, Case, Step, Transport};
use weir_e2e::conformance::rust;
use weir_proto::Reason;

mod exempt;
mod kept;
mod promises;

/// Fewest cases that a client of one transport must pass.
const FEWEST: usize = 300;

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
    let promises = promises::all();
    let promised = |reason: &&Reason| promises.iter().any(|promise| promise.what == reason.name());
    let silent = Reason::ALL.iter().filter(|reason| !promised(reason));
    gaps.extend(silent.map(|reason| format!("{} is in no comment", reason.name())));
    let broken = kept::broken(cases, &methods, &promises);
    gaps.extend(exempt::wrong(&promises, &broken));
    gaps.extend(kept::broken(cases, &methods, &exempt::without(promises)));
    gaps
}

#[test]
fn every_rpc_and_every_promise_has_a_case_over_each_transport() {
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
    assert!(rpc.contains(&"no FindDirectories".to_owned()), "{rpc:#?}");
    assert!(rpc.contains(&"no case: FindDirectories: SOURCE_NOT_FOUND".to_owned()), "{rpc:#?}");
    let reason = without(&|step| !kept::reasons(step).contains(&"PORT_UNAVAILABLE".to_owned()));
    assert_eq!(reason, ["no case: SetServing: PORT_UNAVAILABLE"]);
    let field = without(&|step| !step.error.iter().any(|error| error.field.as_deref() == Some("offset")));
    assert_eq!(field, ["no case: Read, ReadRequest.offset: INVALID_REQUEST"]);
    let answer = without(&|step| !step.expected().iter().flatten().any(|answer| answer["type"] == "EVENT_TYPE_GAP"));
    assert_eq!(answer, ["no case: Watch answers EVENT_TYPE_GAP"]);
    assert!(gaps(&all[..FEWEST - 1]).contains(&format!("only {} cases", FEWEST - 1)));
    let twice: Vec<Case> = all.iter().chain(&all[..1]).cloned().collect();
    assert_eq!(gaps(&twice), [format!("{} twice", all[0].name)]);
    let mut odd = all.clone();
    odd[0].name = "Not a label".to_owned();
    odd[1].steps[0].tell = Some("damage".to_owned());
    let mut error = all.iter().flat_map(|case| &case.steps).find_map(|step| step.error.clone()).unwrap();
    error.field = Some("caller.nothing".to_owned());
    odd[2].steps[0] = Step { call: Some("Remove".to_owned()), error: Some(error), ..Step::default() };
    let odd = gaps(&odd);
    assert!(odd.contains(&"Remove: the request has no caller.nothing".to_owned()), "{odd:?}");
    assert!(odd.len() == 3 && odd[0] == "Not a label is no label" && odd[1].starts_with("not one thing"), "{odd:?}");
}
