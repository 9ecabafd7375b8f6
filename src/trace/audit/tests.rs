//! Logs of a real cluster, cut to what the reader takes, without addresses.

use super::*;
use crate::trace::{Invariant, Verdict, judge};

const USER: &str = "system:serviceaccount:slipway-system:slipway";
/// A release with a migration, then its env changed, then scaled.
const MIGRATED: &str = include_str!("../../../tests/fixtures/audit/migrated.jsonl");
/// A migration that failed between two that succeeded.
const REPEATED: &str = include_str!("../../../tests/fixtures/audit/repeated.jsonl");
/// A release that git removed.
const PRUNED: &str = include_str!("../../../tests/fixtures/audit/pruned.jsonl");

fn judged(log: &str, name: &str) -> Verdict {
    let trace = read(log, &Scope::namespace(USER, name, name));
    assert!(trace.events.len() > 20, "{}", trace.events.len());
    judge(&trace)
}

/// Lines that hold a text are left out, as if that had never happened.
fn without(log: &str, text: &str) -> String {
    let kept: Vec<&str> = log.lines().filter(|line| !line.contains(text)).collect();
    assert!(kept.len() < log.lines().count(), "no line holds {text}");
    kept.join("\n")
}

fn breaks(verdict: &Verdict, invariant: Invariant) -> String {
    let found = verdict.violations.iter().find(|v| v.invariant == invariant);
    let found = found.unwrap_or_else(|| panic!("{invariant} holds: {:#?}", verdict.violations));
    found.to_string()
}

#[test]
fn a_migrated_release_breaks_nothing_and_much_of_it_is_judged() {
    let verdict = judged(MIGRATED, "story-env");
    println!("{}", verdict.coverage);
    assert_eq!(verdict.violations, []);
    let coverage = verdict.coverage.to_string();
    for judged in [
        "S1 1, S2 1, S3 3, S4 1, S5 1, S6 1, S7 8,",
        "S11 3, S12 9, S14 3, S15 5, S16 5,",
        "S19 36, Claim 1, Ledger 3,",
    ] {
        assert!(coverage.contains(judged), "{judged} in {coverage}");
    }
}

#[test]
fn a_migration_that_failed_and_one_that_followed_break_nothing() {
    let verdict = judged(REPEATED, "fail-migrate");
    println!("{}", verdict.coverage);
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.coverage.instances(Invariant::S2), 3);
    assert_eq!(verdict.coverage.instances(Invariant::S4), 2);
    assert_eq!(verdict.coverage.instances(Invariant::S3), 2);
    // Three minutes in which nobody did anything: the failed release must have said so.
    assert_eq!(verdict.coverage.instances(Invariant::L2), 1);
}

#[test]
fn a_service_that_was_left_over_by_a_removal_is_found() {
    let verdict = judged(PRUNED, "git-prune");
    println!("{}", verdict.coverage);
    let found = breaks(&verdict, Invariant::L6);
    assert!(found.contains("Service git-prune/other"), "{found}");
    assert_eq!(verdict.violations.len(), 1, "{:#?}", verdict.violations);
    assert_eq!(verdict.coverage.instances(Invariant::S9), 3);
}

#[test]
fn a_rollout_without_a_booked_success_is_found_in_a_log() {
    let log = without(MIGRATED, "\\\"state\\\":\\\"succeeded\\\"");
    let found = breaks(&judged(&log, "story-env"), Invariant::S3);
    assert!(
        found.contains("Deployment story-env/app") && found.contains("request "),
        "{found}"
    );
}

#[test]
fn a_job_that_is_let_run_without_a_claim_is_found_in_a_log() {
    let log = without(MIGRATED, "\\\"state\\\":\\\"claimed\\\"");
    breaks(&judged(&log, "story-env"), Invariant::Claim);
}

#[test]
fn a_job_that_never_completed_is_no_success_in_a_log() {
    let log = without(MIGRATED, "{\"type\":\"Complete\"");
    breaks(&judged(&log, "story-env"), Invariant::S6);
}

#[test]
fn a_delete_by_name_is_found_in_a_log() {
    let log = PRUNED.replace("\"preconditions\":", "\"nothing\":");
    breaks(&judged(&log, "git-prune"), Invariant::S7);
}

#[test]
fn what_somebody_else_made_is_not_written_in_a_log() {
    let mut lines: Vec<String> = MIGRATED.lines().map(str::to_owned).collect();
    let made = lines
        .iter_mut()
        .find(|line| line.contains("\"resource\":\"deployments\"") && line.contains("\"code\":201"));
    let made = made.unwrap();
    *made = made.replace(USER, "kubernetes-admin");
    breaks(&judged(&lines.join("\n"), "story-env"), Invariant::S7);
}

#[test]
fn events_are_in_the_order_of_etcd_whatever_the_order_of_the_log() {
    let mut lines: Vec<&str> = MIGRATED.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("\\\"state\\\":\\\"succeeded\\\""));
    let booked = lines.remove(at.unwrap());
    // Answered late, and so logged after the Deployment that it let pass.
    let deployed = lines
        .iter()
        .position(|line| line.contains("\"resource\":\"deployments\""))
        .unwrap();
    lines.insert(deployed + 3, booked);
    assert_eq!(judged(&lines.join("\n"), "story-env").violations, []);
}

/// `SLIPWAY_AUDIT=<audit.log> cargo test --lib trace::audit -- a_whole_log --ignored --nocapture`
#[test]
#[ignore = "judges the log of SLIPWAY_AUDIT, whole and namespace by namespace"]
fn a_whole_log() {
    let log = std::fs::read_to_string(std::env::var("SLIPWAY_AUDIT").unwrap()).unwrap();
    let trace = read(&log, &Scope::all(USER));
    let verdict = judge(&trace);
    println!("{} events\n{}", trace.events.len(), verdict.coverage);
    for violation in &verdict.violations {
        println!("{violation}");
    }
    let mut namespaces: Vec<String> = trace
        .events
        .iter()
        .filter_map(|event| event.what.key())
        .filter(|key| key.kind == Kind::Release)
        .map(|key| key.namespace.to_string())
        .collect();
    namespaces.sort();
    namespaces.dedup();
    for namespace in namespaces {
        let trace = read(&log, &Scope::namespace(USER, &namespace, &namespace));
        let verdict = judge(&trace);
        println!("{namespace}: {} events; {}", trace.events.len(), verdict.coverage);
        for violation in &verdict.violations {
            println!("{violation}");
        }
    }
}
