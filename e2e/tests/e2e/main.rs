//! End-to-end tests on real parts: one control plane a run, one namespace a test.
//!
//! `cargo test -p weir-e2e --test e2e -- NAME` runs the tests whose name contains NAME.

mod admission;
mod conformance;
mod contents;
mod controller_crash;
mod crd;
mod damage;
mod dependencies;
mod edits;
mod election;
mod ending;
mod endings;
mod errors;
mod events;
mod examples;
mod flows;
mod grpcurl;
mod harness;
mod manifests;
mod missing_definition;
mod names;
mod namespaces;
mod notifications;
mod oracle;
mod owners;
mod pattern;
mod peer;
mod rbac;
mod reconcile;
mod reconnect;
mod removal;
mod repair;
mod server_crash;
mod shards;
mod split;
mod strays;
mod takeover;
mod two_tenants;
mod unsaid;
mod volume;
mod writes;

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
    add_all(&mut suite);
    suite.run()
}

/// Every test of this binary.
#[expect(clippy::too_many_lines, reason = "a list of names")]
fn add_all(suite: &mut Suite) {
    trials!(
        suite,
        admission::{lets_weir_alone_publish},
        conformance::{over_a_unix_socket, over_mutual_tls},
        contents::{are_told_in_events, may_be_optional},
        crd::{accepts_and_refuses, is_shown_as_documented, status_is_checked},
        damage::{changed_bytes_are_never_served},
        dependencies::{
            a_cycle_stalls_until_it_is_broken,
            other_generators_come_first,
            other_kinds_are_asked_for,
        },
        edits::{
            in_a_fight_are_repaired_later_each_time,
            made_while_nobody_watched_are_corrected,
        },
        election::{
            a_leader_that_ends_in_a_build_is_followed_by_one_writer,
            a_lost_lease_ends_the_process,
            only_the_server_of_the_leader_serves,
            weir_and_client_go_never_lead_together,
            without_a_namespace_there_is_none,
        },
        ending::{
            by_a_signal_is_taken_up_by_the_next,
            by_the_time_limit_is_told,
            no_time_is_no_limit_and_no_wait,
        },
        endings::{have_their_conditions_events_and_next_runs},
        errors::{
            sources_and_storage_are_told_apart,
            who_leads_no_more_writes_nothing,
        },
        events::{are_counted_and_bounded, deleted_event_comes_back},
        examples::{
            configmaps_in_go,
            configmaps_in_go_share,
            python_publishes_a_chart_that_is_released,
            python_publishes_a_directory_as_long_as_it_is_wanted,
            python_says_that_the_api_is_away,
            python_stays_below_the_url,
            python_stores_again_what_the_server_lost,
        },
        grpcurl::{documented_commands_answer_as_shown, the_steps_to_a_controller_lead_to_a_consumer},
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
            flux_installs_the_split,
        },
        names::{
            an_owner_that_vanished_is_no_owner,
            two_generators_at_once_do_not_share_one,
        },
        namespaces::{a_source_elsewhere_needs_the_gate},
        notifications::{
            a_dead_receiver_slows_nobody,
            a_minute_without_a_receiver_costs_old_news_only,
            are_sent_before_the_end,
            arrive_exactly_as_documented,
        },
        missing_definition::{is_named_and_waited_for},
        oracle::{
            go_reads_what_weir_merges,
            recorded_answers_are_still_given,
        },
        pattern::{
            each_folder_becomes_an_artifact,
            that_finds_nothing_any_more_deletes_nothing_unasked,
            what_can_not_be_expanded_stalls,
        },
        owners::{that_control_them_stay},
        peer::{
            random_files_get_the_same_verdict,
            random_folders_give_the_same_tar,
            random_names_are_the_same,
            random_volumes_lose_the_same_files,
            where_archives_differ,
            where_collection_differs,
            where_names_differ,
            where_verdicts_differ,
        },
        reconcile::{
            a_commit_moves_only_what_it_touches,
            a_failing_copy_spares_the_others,
            a_missing_source_is_waited_for,
            a_paused_generator_goes_on_once_it_is_resumed,
            a_spec_that_breaks_a_rule_stalls,
            a_taken_name_is_refused,
            an_absent_server_is_waited_for,
            an_interrupted_run_is_drift,
            files_without_a_generator_are_swept,
            generators_chain,
            orphans_and_deleted_generators_leave_nothing,
        },
        reconnect::{
            a_lost_api_server_is_no_end_of_repair,
            an_api_server_that_falls_silent_is_not_waited_for,
            a_server_that_comes_last_is_verified_at_once,
        },
        removal::{
            a_deletion_that_can_not_go_on_says_why,
            a_failing_copy_does_not_keep_old_versions_of_others,
            an_orphan_that_must_stay_keeps_its_file,
            an_output_that_waits_for_a_finalizer_keeps_its_file,
        },
        repair::{
            a_paused_generator_takes_ready_from_what_is_lost,
            a_stuck_build_does_not_hide_lost_files,
            an_emptied_volume_and_a_damaged_file_are_rebuilt,
            edited_and_deleted_outputs_are_restored,
            lost_files_take_ready_away_until_rebuilt,
        },
        rbac::{
            shipped_roles_allow_what_the_controller_does,
            shipped_roles_refuse_everything_else,
        },
        shards::{
            a_generator_moves_and_nothing_is_lost,
            a_sweep_spares_what_another_shard_has,
            two_shards_do_not_share_a_name,
        },
        split::{works_over_mutual_tls},
        strays::{are_removed_after_a_kill_between_the_two_deletions},
        two_tenants::{share_one_server_and_nothing_else},
        unsaid::{is_written_as_soon_as_it_can_be},
        writes::{
            a_new_generator_costs_three,
            only_what_changes_is_written,
        },
        flows::{
            first_commit_is_applied,
            composed_chart_is_released,
            extracted_chart_is_released,
            merged_values_are_released,
            second_commit_changes_only_the_affected,
            deleted_generator_leaves_nothing,
        },
        volume::{
            emptied_while_running_is_repaired,
            emptied_while_stopped_is_repaired,
            lost_file_is_repaired,
            corrupted_while_running_is_repaired,
            corrupted_while_stopped_is_repaired,
        },
        takeover::{
            a_persistent_volume_changes_nothing,
            an_empty_volume_changes_each_revision_once,
            an_orphan_of_source_watcher_is_removed,
            the_way_back_rebuilds_nothing,
        },
        controller_crash::{downloads_survive_a_killed_controller},
        server_crash::{killed_writes_leave_nothing_partial},
    );
}
