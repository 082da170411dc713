//! End-to-end tests on real parts: one control plane a run, one namespace a test.
//!
//! `cargo test -p weir-e2e --test e2e -- NAME` runs the tests whose name contains NAME.

mod harness;
mod manifests;
mod peer;
mod rbac;

use std::process::ExitCode;

use weir_e2e::trial::Suite;

/// Adds each function under its path.
macro_rules! trials {
    ($suite:expr, $($module:ident :: {$($test:ident),+ $(,)?}),+ $(,)?) => {
        $($($suite.add(concat!(stringify!($module), "::", stringify!($test)), $module::$test);)+)+
    };
}

fn main() -> ExitCode {
    if let Some(code) = weir_e2e::guard::intercept() {
        return code;
    }
    let mut suite = match Suite::new() {
        Ok(suite) => suite,
        Err(error) => {
            weir_e2e::progress::say(format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    trials!(
        suite,
        harness::{
            control_plane_enforces_rbac,
            commit_becomes_a_source_artifact,
            kustomization_applies_a_config_map,
            grpcurl_runs,
            peer_archives_a_folder,
            children_die_with_their_owner,
        },
        manifests::{
            base_applies,
            restricted_namespace_admits_the_pod,
            documented_objects_are_accepted,
            flux_installs_the_documented_overlay,
        },
        peer::{
            random_folders_give_the_same_tar,
        },
        rbac::{
            shipped_roles_allow_what_the_controller_does,
            shipped_roles_refuse_everything_else,
        },
    );
    suite.run()
}
