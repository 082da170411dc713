//! What the shipped NetworkPolicy allows, by the rules of the Kubernetes API, without a network that enforces it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::manifests::object;

type Labels = BTreeMap<String, String>;

struct Peer {
    namespace: &'static str,
    labels: Labels,
}

fn peer(namespace: &'static str, app: &str) -> Peer {
    Peer { namespace, labels: [("app".to_owned(), app.to_owned())].into() }
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let sets = selector.match_expressions.iter().flatten().all(|rule| {
        assert_eq!(rule.operator, "In", "only what the policy uses is evaluated");
        labels.get(&rule.key).is_some_and(|value| rule.values.iter().flatten().any(|allowed| allowed == value))
    });
    exact && sets
}

/// A peer without a namespace selector means pods of the policy's own namespace.
fn admits(rule: &NetworkPolicyPeer, own_namespace: &str, peer: &Peer) -> bool {
    assert!(rule.ip_block.is_none(), "only what the policy uses is evaluated");
    let namespace = match &rule.namespace_selector {
        None => peer.namespace == own_namespace,
        Some(selector) => selects(selector, &Labels::new()),
    };
    namespace && rule.pod_selector.as_ref().is_none_or(|selector| selects(selector, &peer.labels))
}

fn allows(policy: &NetworkPolicy, peer: &Peer, port: i32) -> bool {
    let own_namespace = policy.metadata.namespace.as_deref().unwrap();
    let rules = policy.spec.as_ref().unwrap().ingress.as_ref().unwrap();
    rules.iter().any(|NetworkPolicyIngressRule { from, ports }| {
        let from_peer = from.as_ref().is_none_or(|from| from.iter().any(|rule| admits(rule, own_namespace, peer)));
        let to_port = ports.as_ref().is_none_or(|ports| ports.iter().any(|p| p.port == Some(IntOrString::Int(port))));
        from_peer && to_port
    })
}

#[test]
fn artifacts_are_for_consumers_metrics_for_all_health_for_nobody() {
    let policy: NetworkPolicy = serde_json::from_value(object("NetworkPolicy", "source-watcher")).unwrap();
    let rows = [
        ("flux-system", "kustomize-controller", [true, true, true, false, false]),
        ("flux-system", "helm-controller", [true, true, true, false, false]),
        ("flux-system", "source-watcher", [true, true, true, false, false]),
        ("flux-system", "source-controller", [false, true, true, false, false]),
        ("flux-system", "notification-controller", [false, true, true, false, false]),
        ("monitoring", "prometheus", [false, true, true, false, false]),
        ("tenant", "kustomize-controller", [false, true, true, false, false]),
    ];
    for (namespace, app, expected) in rows {
        let peer = peer(namespace, app);
        let ports = [9090, 8080, 8081, 9440, 9441];
        assert_eq!(ports.map(|port| allows(&policy, &peer, port)), expected, "{namespace}/{app} on {ports:?}");
    }
}

#[test]
fn the_policy_selects_the_pod_in_both_directions() {
    let policy: NetworkPolicy = serde_json::from_value(object("NetworkPolicy", "source-watcher")).unwrap();
    let spec = policy.spec.unwrap();
    assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);
    let labels = &object("Deployment", "source-watcher")["spec"]["template"]["metadata"]["labels"];
    let labels: Labels = serde_json::from_value(labels.clone()).unwrap();
    assert!(selects(&spec.pod_selector.unwrap(), &labels));
}

/// Events go to notification-controller, in whatever namespace: its pods listen on the port that sources have.
#[test]
fn the_notification_receiver_can_be_reached() {
    let policy: NetworkPolicy = serde_json::from_value(object("NetworkPolicy", "source-watcher")).unwrap();
    let own_namespace = policy.metadata.namespace.unwrap();
    let rules = policy.spec.unwrap().egress.unwrap();
    let reaches = |receiver: &Peer, port: i32| {
        rules.iter().any(|NetworkPolicyEgressRule { to, ports }| {
            let peer = to.as_ref().is_none_or(|to| to.iter().any(|rule| admits(rule, &own_namespace, receiver)));
            peer && ports.as_ref().is_none_or(|ports| ports.iter().any(|p| p.port == Some(IntOrString::Int(port))))
        })
    };
    for namespace in ["flux-system", "alerts"] {
        let receiver = peer(namespace, "notification-controller");
        assert_eq!([9090, 443, 9292].map(|port| reaches(&receiver, port)), [true, true, false], "{namespace}");
    }
}
