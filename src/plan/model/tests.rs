//! The sequences of `make test`.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _};

use super::{
    super::mutant::Mutant,
    eyes::Reading,
    sequence::{self, Outcome, Setting},
};
use crate::trace::{self, Invariant, verdict::Limit};

/// Sequences of each part; the parts run side by side.
const PART: u64 = 2500;

/// The seeds with which mutants are looked for; the true code passes them in part 0.
const MUTANT_SEEDS: u64 = 400;

fn tell(seed: u64, setting: Setting) -> ! {
    let moves = sequence::shrink(&sequence::moves(seed), setting);
    let (result, story) = sequence::trace(&moves, setting, true);
    let story = story.join("\n");
    panic!(
        "seed {seed} ({setting:?}), {} moves: {:?}\n{story}",
        moves.len(),
        result.err().map(|v| v.to_string())
    );
}

/// Past the test harness, which shows what a test prints only when it fails. One write, so that parts that run side by
/// side do not mix their lines.
fn say(report: &str) {
    std::io::stderr().write_all(report.as_bytes()).unwrap();
}

/// Runs a part of the seeds and reports what they reached.
fn part(number: u64) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut reached: Vec<Outcome> = Vec::new();
    let mut judged = trace::Coverage::default();
    for seed in number * PART..(number + 1) * PART {
        match sequence::run(&sequence::moves(seed), Setting::default()) {
            Ok(outcome) => {
                judged.add(&outcome.judged);
                reached.push(outcome);
            }
            Err(_) => tell(seed, Setting::default()),
        }
    }
    for outcome in &reached {
        let coverage = outcome.reached;
        for (name, is) in [
            ("Job claimed", coverage.claimed),
            ("crash between claim and resume", coverage.crash_after_claim),
            ("lost reply on create", coverage.lost_create),
            ("Job vanished", coverage.vanished),
            ("stale read at the gate", coverage.stale_gate),
            ("success booked", coverage.succeeded),
            ("Job taken back", coverage.withdrawn),
        ] {
            *counts.entry(name).or_default() += usize::from(is);
        }
    }
    let mut report = format!(
        "model, seeds {}..{}: {} sequences\n",
        number * PART,
        (number + 1) * PART,
        reached.len()
    );
    for (name, count) in &counts {
        writeln!(report, "  {count:5} reached: {name}").unwrap();
    }
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in &reached {
        *ends.entry(outcome.reached.end.unwrap_or("?")).or_default() += 1;
    }
    writeln!(report, "  came to rest as {ends:?}").unwrap();
    let limit = |limit: Limit| reached.iter().map(|outcome| outcome.limit(limit)).sum::<usize>();
    writeln!(
        report,
        "  beyond what can be seen: {} successes of a run that ended by a reboot before anybody had looked, {} on a \
         database that came and went; {} sequences booked an unknown outcome",
        limit(Limit::UnseenReboot),
        limit(Limit::UnseenRotation),
        reached.iter().filter(|outcome| outcome.reached.unknown).count(),
    )
    .unwrap();
    writeln!(report, "  judged: {judged}").unwrap();
    say(&report);
    for (name, count) in counts {
        assert!(count >= 500, "only {count} sequences reached: {name}");
    }
    for invariant in JUDGED {
        let count = judged.instances(invariant);
        assert!(count >= 500, "only {count} instances of {invariant} were judged");
    }
}

/// What the model can break: no violation of one that judged nothing would say nothing.
const JUDGED: [Invariant; 14] = [
    Invariant::S1,
    Invariant::S2,
    Invariant::S3,
    Invariant::S4,
    Invariant::S5,
    Invariant::S6,
    Invariant::S7,
    Invariant::S10,
    Invariant::S15,
    Invariant::S19,
    Invariant::Claim,
    Invariant::Ledger,
    Invariant::L1,
    Invariant::L2,
];

#[test]
fn no_sequence_breaks_an_invariant_part_0() {
    part(0);
}

#[test]
fn no_sequence_breaks_an_invariant_part_1() {
    part(1);
}

#[test]
fn no_sequence_breaks_an_invariant_part_2() {
    part(2);
}

#[test]
fn no_sequence_breaks_an_invariant_part_3() {
    part(3);
}

/// How many of the seeds find a fault, and by which invariants.
fn found(setting: Setting) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for seed in 0..MUTANT_SEEDS {
        if let Err(violation) = sequence::run(&sequence::moves(seed), setting) {
            for name in violation.names {
                *found.entry(name).or_default() += 1;
            }
        }
    }
    say(&format!(
        "model, seeds 0..{MUTANT_SEEDS}, {setting:?}: {found:?}\n"
    ));
    found
}

fn mutant(mutant: Mutant) -> BTreeMap<String, usize> {
    found(Setting {
        mutant: Some(mutant),
        ..Setting::default()
    })
}

#[test]
fn a_dropped_gate_is_found() {
    assert!(mutant(Mutant::GateDropped).contains_key("S3"));
}

#[test]
fn a_missing_job_taken_as_done_is_found() {
    assert!(
        mutant(Mutant::MissingIsDone)
            .keys()
            .any(|name| ["S4", "S6"].contains(&&**name))
    );
}

#[test]
fn a_resume_without_a_claim_is_found() {
    assert!(mutant(Mutant::ResumeWithoutClaim).contains_key("Claim"));
}

#[test]
fn an_ignored_lock_is_found() {
    assert!(mutant(Mutant::LockIgnored).contains_key("S1"));
}

#[test]
fn a_withdrawal_without_its_mark_is_found() {
    assert!(!mutant(Mutant::UnmarkedWithdrawal).is_empty());
}

/// What the reads of `cluster` must hold to, shown by what breaks where they do not.
#[test]
fn a_start_time_taken_as_the_only_sign_of_a_resume_is_found() {
    let reading = Reading {
        start_time_only: true,
    };
    let setting = Setting {
        reading,
        ..Setting::default()
    };
    // Rare: a Job must be suspended while it runs, and its version be declared again.
    let first = (0..20 * MUTANT_SEEDS).find(|seed| {
        sequence::run(&sequence::moves(*seed), setting).is_err_and(|violation| violation.names.contains("S2"))
    });
    say(&format!("model: S2 is first broken by seed {first:?}\n"));
    assert!(first.is_some());
}

#[test]
#[ignore = "tells the story of SLIPWAY_SEED"]
fn one_seed() {
    let seed = std::env::var("SLIPWAY_SEED").unwrap().parse().unwrap();
    let setting = Setting {
        reading: Reading::default(),
        ..Setting::default()
    };
    let (result, story) = sequence::trace(&sequence::moves(seed), setting, true);
    println!("{}\n{result:?}", story.join("\n"));
}
