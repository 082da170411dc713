//! The program as a process: exit codes, and what goes where.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

/// Runs the program, with no cluster to be found.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-controller"));
    command.env_clear().env("KUBECONFIG", "/nonexistent/kubeconfig").env("HOME", "/nonexistent");
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn exit_codes() {
    // (arguments, code, part of standard error, how many lines it has; 0: any)
    let rows: [(&[&str], i32, &str, usize); 7] = [
        (&["--nonsense"], 2, "Usage: weir-controller", 0),
        (&["--concurrent=ten"], 2, "Usage: weir-controller", 0),
        (&["--feature-gates=Other=true"], 1, "feature-gate 'Other' not supported", 1),
        (&["--watch-label-selector=a in b"], 1, "unable to configure watch label selector for manager", 1),
        (&["--interval-jitter-percentage=100"], 1, "must be a non-negative value and less than 100", 1),
        (&["--watch-all-namespaces=false"], 1, "RUNTIME_NAMESPACE", 1),
        (&["--metrics-addr=0", "--health-addr=0"], 1, "problem running manager", 1),
    ];
    for (arguments, code, part, lines) in rows {
        let output = run(arguments, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part) && output.stdout.is_empty(), "{arguments:?}: {said}");
        assert!(lines == 0 || said.lines().count() == lines, "{arguments:?}: {said}");
    }
    for question in ["--help", "-h", "--version"] {
        let output = run(&[question], &[]);
        assert!(output.status.success() && output.stderr.is_empty(), "{question}");
        assert!(text(&output.stdout).contains("weir-controller"), "{question}");
    }
}

#[test]
fn variables_are_defaults() {
    let spaces = [("STORAGE_ADV_ADDR", "not an address")];
    let output = run(&[], &spaces);
    assert!(text(&output.stderr).contains("--storage-adv-addr: must not contain spaces"), "{output:?}");
    let output = run(&["--storage-adv-addr=a:1", "--metrics-addr=0", "--health-addr=0"], &spaces);
    assert!(text(&output.stderr).contains("problem running manager"), "the flag wins: {output:?}");
    let output = run(&[], &[("ARTIFACT_SERVER", "nowhere")]);
    assert_eq!(output.status.code(), Some(1));
    for (variable, value) in [("STORAGE_PATH", "/other"), ("STORAGE_ADDRESS", ":1")] {
        let help = text(&run(&["--help"], &[(variable, value)]).stdout);
        assert!(help.contains(&format!("[env: {variable}]")), "{help}");
    }
}

/// Gates are said in the log, and a log that nobody can spell is JSON at level info.
#[test]
fn gates_are_said() {
    let quiet = ["--metrics-addr=0", "--health-addr=0", "--log-encoding=nonsense", "--log-level=nonsense"];
    let with = |gates: &str| {
        let gates = format!("--feature-gates={gates}");
        let output = run(&[&quiet[..], &[&gates]].concat(), &[]);
        let lines = text(&output.stderr);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    let enabled = "DirectSourceFetch feature gate is enabled, sources will be fetched directly from the API server bypassing the cache";
    for (gates, value) in [("DirectSourceFetch=true", true), ("DirectSourceFetch=true,DirectSourceFetch=false", false)]
    {
        let lines = with(gates);
        let loading: Vec<_> = lines.iter().filter(|line| line["msg"] == "loading feature gate").collect();
        assert!(loading.len() == 1 && loading[0]["DirectSourceFetch"] == value, "{lines:?}");
        assert_eq!((&loading[0]["level"], &loading[0]["logger"]), (&"info".into(), &"setup".into()));
        assert_eq!(lines.iter().any(|line| line["msg"] == enabled), value, "{lines:?}");
    }
    assert!(with("").iter().all(|line| line["msg"] != "loading feature gate"));
}

/// A cluster that does not answer: the first line says that it begins.
#[test]
fn its_start_is_said_under_setup() {
    use std::io::{BufRead as _, BufReader};

    let kubeconfig = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("nobody.kubeconfig");
    let text = concat!(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], ",
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}]}"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-controller"));
    command.env_clear().env("KUBECONFIG", &kubeconfig).args(["--metrics-addr=0", "--health-addr=0"]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let read = said.read_line(&mut first);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(read.is_ok_and(|length| length > 0), "it said nothing");
    let line: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&line["msg"], &line["logger"]), (&"starting manager".into(), &"setup".into()), "{first}");
}
