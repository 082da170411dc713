//! What other people's installers and probes rely on in `deploy/base`.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::root;

/// All objects that `deploy/base/kustomization.yaml` lists, in its order.
pub(crate) fn base() -> Vec<Value> {
    let folder = root().join("deploy/base");
    let read = |file: PathBuf| -> Vec<Value> {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    let kustomization = read(folder.join("kustomization.yaml"));
    let resources = kustomization[0]["resources"].as_array().expect("a list of resources");
    resources.iter().flat_map(|file| read(folder.join(file.as_str().expect("a file name")))).collect()
}

/// The one object of a kind with this name.
pub(crate) fn object(kind: &str, name: &str) -> Value {
    let mut found = base().into_iter().filter(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name} in deploy/base"));
    assert!(found.next().is_none(), "two of {kind} {name}");
    object
}

/// The pod template's spec.
pub(crate) fn pod() -> Value {
    object("Deployment", "source-watcher")["spec"]["template"]["spec"].clone()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().flat_map(|list| pod[list].as_array().into_iter().flatten())
}

/// `flux install` and flux-operator insert `--events-addr` in front and then replace arguments 0, 1, 2 and 6.
#[test]
fn arguments_keep_the_order_that_installers_patch_by_index() {
    let pod = pod();
    let mut args: Vec<&str> =
        pod["containers"][0]["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    args.insert(0, "--events-addr=http://notification-controller.flux-system.svc.cluster.local./");
    let names: Vec<_> = args.iter().map(|argument| argument.split('=').next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "--events-addr",
            "--watch-all-namespaces",
            "--log-level",
            "--log-encoding",
            "--enable-leader-election",
            "--storage-path",
            "--storage-adv-addr",
        ]
    );
    assert_eq!(args[6], "--storage-adv-addr=source-watcher.$(RUNTIME_NAMESPACE).svc.cluster.local.");
}

/// Each row: where in the pod, what must stand there, why.
#[test]
fn the_pod_has_what_others_point_at() {
    let rows = [
        ("/containers/0/name", json!("manager"), "patches address the controller by this name or by index 0"),
        ("/containers/0/env/0/name", json!("RUNTIME_NAMESPACE"), "env is extended behind it"),
        ("/containers/0/env/0/valueFrom/fieldRef/fieldPath", json!("metadata.namespace"), "it is the pod's namespace"),
        ("/containers/0/volumeMounts/0/name", json!("data"), "persistent storage replaces mount 0"),
        ("/containers/0/volumeMounts/0/mountPath", json!("/data"), "persistent storage replaces mount 0"),
        ("/containers/0/volumeMounts/0/readOnly", json!(true), "the controller opens no file"),
        ("/volumes/0", json!({"name": "data", "emptyDir": {}}), "persistent storage replaces volume 0"),
        (
            "/containers/0/ports/0",
            json!({"name": "http", "containerPort": 9090, "protocol": "TCP"}),
            "the Service's target",
        ),
        (
            "/containers/0/ports/1",
            json!({"name": "http-prom", "containerPort": 8080, "protocol": "TCP"}),
            "pod monitors",
        ),
        ("/containers/0/ports/2", json!({"name": "healthz", "containerPort": 9440, "protocol": "TCP"}), "liveness"),
        (
            "/containers/0/livenessProbe/httpGet",
            json!({"path": "/healthz", "port": "healthz"}),
            "source-watcher's probe",
        ),
        (
            "/containers/0/readinessProbe/httpGet",
            json!({"path": "/", "port": "http"}),
            "ready means: artifacts are served",
        ),
        ("/initContainers/0/restartPolicy", json!("Always"), "a native sidecar starts first and stops last"),
        ("/terminationGracePeriodSeconds", json!(10), "the drain takes 8 s at most"),
        ("/securityContext/fsGroup", json!(1337), "volume and socket belong to this group"),
        ("/serviceAccountName", json!("source-watcher"), "admission policies pin this account"),
        ("/automountServiceAccountToken", json!(false), "the server gets no token"),
    ];
    let pod = pod();
    for (pointer, expected, reason) in rows {
        assert_eq!(pod.pointer(pointer), Some(&expected), "{pointer}: {reason}");
    }
    assert_eq!(pod["initContainers"].as_array().unwrap().len(), 1);
    assert_eq!(object("Deployment", "source-watcher")["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(object("Deployment", "source-watcher")["spec"]["replicas"], 1);
}

/// Startup, readiness and liveness of the server are on its own port, so they say nothing about leadership.
#[test]
fn the_server_is_probed_on_its_own_health_port() {
    let pod = pod();
    let server = &pod["initContainers"][0];
    let port = server["ports"].as_array().unwrap().iter().find(|port| port["name"] == "server-health").unwrap();
    assert_eq!(port["containerPort"], 9441);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(server[probe]["httpGet"]["port"], "server-health", "{probe}");
    }
}

#[test]
fn every_container_is_restricted_and_has_a_read_only_root() {
    let pod = pod();
    assert_eq!(containers(&pod).count(), 2);
    for container in containers(&pod) {
        let name = &container["name"];
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(container["securityContext"], expected, "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name} has a memory limit");
    }
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[host].is_null(), "{host}");
    }
    for volume in pod["volumes"].as_array().unwrap() {
        assert!(volume["hostPath"].is_null(), "{}", volume["name"]);
    }
}

#[test]
fn only_the_controller_gets_a_token() {
    let pod = pod();
    let with_token: Vec<_> = containers(&pod)
        .filter(|c| c["volumeMounts"].as_array().unwrap().iter().any(|m| m["name"] == "kube-api-access"))
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(with_token, ["manager"]);
}

#[test]
fn the_socket_folder_is_shared_and_the_cache_is_bounded() {
    let pod = pod();
    for container in containers(&pod) {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let run = mounts.iter().find(|m| m["mountPath"] == "/run/weir").unwrap();
        assert_eq!(run["name"], "run", "{}", container["name"]);
        assert!(run["readOnly"].is_null(), "connecting to a socket needs a writable mount");
    }
    let volume = |name: &str| pod["volumes"].as_array().unwrap().iter().find(|v| v["name"] == name).unwrap().clone();
    assert_eq!(volume("tmp")["emptyDir"]["sizeLimit"], "2Gi");
    assert_eq!(volume("run")["emptyDir"]["sizeLimit"], "1Mi");
}

#[test]
fn the_service_keeps_serving_a_pod_whose_controller_is_down() {
    let service = object("Service", "source-watcher");
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}])
    );
    let labels = &object("Deployment", "source-watcher")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&service["spec"]["selector"], labels, "the Service selects the pods");
}

#[test]
fn roles_name_everything_and_grant_no_secrets() {
    for role in base().into_iter().filter(|o| o["kind"] == "ClusterRole" || o["kind"] == "Role") {
        for rule in role["rules"].as_array().unwrap() {
            for list in ["apiGroups", "resources", "verbs"] {
                for word in rule[list].as_array().unwrap() {
                    assert!(!word.as_str().unwrap().contains('*'), "{rule}");
                }
            }
            for foreign in ["secrets", "configmaps", "pods", "serviceaccounts", "namespaces", "deployments"] {
                assert!(!rule["resources"].as_array().unwrap().contains(&json!(foreign)), "{rule}");
            }
        }
    }
}

/// A base that other overlays build on must not decide about other namespaces.
#[test]
fn namespaced_objects_live_in_flux_system() {
    let cluster_wide = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];
    for object in base() {
        let expected =
            if cluster_wide.contains(&object["kind"].as_str().unwrap()) { Value::Null } else { json!("flux-system") };
        assert_eq!(object["metadata"]["namespace"], expected, "{} {}", object["kind"], object["metadata"]["name"]);
    }
}
