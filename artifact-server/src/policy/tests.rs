use super::*;

const FILE: &str = r#"
rules:
  # Weir's own controller, in the pod.
  - identities: [{uid: 65534}]
    kinds: [ExternalArtifact]
    namespaces: ["*"]
    controllers: [source-watcher]
  # Two tenants behind TLS.
  - identities:
      - dns: team-a.example.com
      - uri: spiffe://cluster.local/ns/team-a/sa/builder
    kinds: ["*"]
    namespaces: [team-a, "team-a-*"]
  - identities: [{dns: team-a.example.com}]
    kinds: [Chart]
    namespaces: [shared]
    controllers: ["chart-*"]
"#;

fn uid(uid: u32) -> Identity {
    Identity::Process { uid, gid: 0, pid: Some(1) }
}

fn certificate(dns: &[&str], uris: &[&str]) -> Identity {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Identity::Certificate { dns: owned(dns), uris: owned(uris) }
}

const fn at<'a>(kind: &'a str, namespace: &'a str) -> Place<'a> {
    Place { kind, namespace }
}

#[test]
fn only_what_a_rule_allows_is_allowed() {
    use Deed::{Act, Ask, Change, See};
    let policy = Policy::parse(FILE.as_bytes()).unwrap();
    let (a, apps) = (certificate(&["TEAM-A.example.com"], &[]), at("externalartifact", "apps"));
    let spiffe = certificate(&["x"], &["spiffe://cluster.local/ns/team-a/sa/builder"]);
    let rows = [
        ("its user", uid(65534), Change(apps, "source-watcher"), true),
        ("another user", uid(0), Change(apps, "source-watcher"), false),
        ("another user asks", uid(0), Ask, false),
        ("another controller", uid(65534), Change(apps, "other"), false),
        ("another kind", uid(65534), Change(at("chart", "apps"), "source-watcher"), false),
        ("sees its kind", uid(65534), See(apps), true),
        ("sees no other kind", uid(65534), See(at("chart", "apps")), false),
        ("acts for its controller", uid(65534), Act("source-watcher"), true),
        ("acts for another one", uid(65534), Act("source"), false),
        ("a DNS name without case", a.clone(), Change(at("any", "team-a"), "whoever"), true),
        ("a namespace that begins so", a.clone(), See(at("any", "team-a-1")), true),
        ("a namespace that is longer", a.clone(), See(at("any", "team-ab")), false),
        ("another tenant's", a.clone(), See(at("any", "team-b")), false),
        ("a second rule", a.clone(), Change(at("chart", "shared"), "chart-maker"), true),
        ("rules do not mix", a.clone(), Change(at("chart", "shared"), "whoever"), false),
        ("a URI", spiffe.clone(), Change(at("any", "team-a"), "whoever"), true),
        ("a URI of the first rule only", spiffe.clone(), See(at("chart", "shared")), false),
        ("a URI is no DNS name", certificate(&["spiffe://cluster.local/ns/team-a/sa/builder"], &[]), Ask, false),
        ("a name below", certificate(&["x.team-a.example.com"], &[]), Ask, false),
        ("a certificate of a uid", certificate(&["65534"], &[]), Ask, false),
        ("no names", certificate(&[], &[]), Ask, false),
        ("nobody known", Identity::Unknown, Ask, false),
        ("whoever is in a rule", spiffe, Ask, true),
    ];
    for (row, who, deed, expected) in rows {
        assert_eq!(policy.allows(&who, deed), expected, "row {row}: {who} may {deed}");
    }
    let json = r#"{"rules": [{"identities": [{"uid": 1}], "kinds": ["*"], "namespaces": ["*"]}]}"#;
    assert!(Policy::parse(json.as_bytes()).unwrap().allows(&uid(1), Change(apps, "any")), "JSON is YAML");
    assert!(!Policy::parse(b"rules: []").unwrap().allows(&uid(1), Ask), "no rule, nothing allowed");
}

#[test]
fn an_identity_is_named_as_the_rules_do() {
    let policy = Policy::parse(FILE.as_bytes()).unwrap();
    let spiffe = "spiffe://cluster.local/ns/team-a/sa/builder";
    let rows = [
        (uid(65534), "uid 65534".to_owned()),
        (certificate(&["pod-1.test", "TEAM-A.example.com"], &["spiffe://x"]), "dns team-a.example.com".to_owned()),
        (certificate(&["team-a.example.com"], &[spiffe]), format!("dns team-a.example.com, uri {spiffe}")),
        (uid(0), String::new()),
    ];
    for (who, expected) in rows {
        assert_eq!(policy.name(&who), expected, "{who}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_one_line() {
    let rule = |identity: &str, rest: &str| format!("rules:\n  - identities: [{identity}]\n{rest}");
    let good = "    kinds: ['*']\n    namespaces: ['*']\n";
    let rows = [
        (String::new(), "end of input"),
        ("rule: []".to_owned(), "rule"),
        ("rules: [".to_owned(), "line"),
        (rule("{uid: 1}", "    kind: ['*']\n    namespaces: ['*']\n"), "kind"),
        (rule("{uid: 1}", "    kinds: ['*']\n"), "namespaces"),
        (rule("{uid: root}", good), "line 2"),
        (rule("", good), "rules[0].identities: name at least one"),
        (rule("{}", good), "rules[0].identities[0]: name exactly one of uid, dns and uri"),
        (rule("{uid: 1}, {uid: 1, dns: a}", good), "rules[0].identities[1]: name exactly one"),
        (rule("{dns: ''}", good), "rules[0].identities[0]: must not be empty"),
        (rule("{uid: 1}", "    kinds: []\n    namespaces: ['*']\n"), "rules[0].kinds: name at least one"),
        (rule("{uid: 1}", "    kinds: ['*']\n    namespaces: ['*-a']\n"), "rules[0].namespaces: \"*-a\""),
        (rule("{uid: 1}", "    kinds: ['*']\n    namespaces: ['a**']\n"), "rules[0].namespaces: \"a**\""),
    ];
    for (text, part) in rows {
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
    }
}
