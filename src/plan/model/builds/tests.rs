//! The sequences of builds.

use std::{fmt::Write as _, io::Write as _};

use super::{
    super::super::mutant::Mutant,
    sequence::{Reached, Setting, run},
};

const SEQUENCES: u64 = 20_000;

/// Where sequences must come to: one in so many, at least.
const PLACES: [(&str, u64); 17] = [
    ("begun", 2),
    ("pushed", 2),
    ("released", 2),
    ("rests live", 2),
    ("ended", 2),
    ("shared", 8),
    ("left", 8),
    ("failed", 8),
    ("begun by two", 16),
    ("seen too late", 16),
    ("failed for good", 40),
    ("begun again", 40),
    ("late", 40),
    ("rests with another image", 80),
    ("found in time", 80),
    ("begun with more memory", 100),
    ("rests as failed", 8),
];

fn say(report: &str) {
    std::io::stderr().write_all(report.as_bytes()).unwrap();
}

/// Of these seeds, where they came to.
fn all(seeds: std::ops::Range<u64>) -> Reached {
    let mut sum = Reached::new();
    for seed in seeds {
        match run(seed, Setting::default(), false).0 {
            Ok(reached) => {
                for place in reached.into_keys() {
                    *sum.entry(place).or_default() += 1;
                }
            }
            Err(broken) => {
                let (_, story) = run(seed, Setting::default(), true);
                panic!("builds, seed {seed}: {broken}\n{}", story.join("\n"));
            }
        }
    }
    sum
}

#[test]
fn no_sequence_builds_twice_what_was_built_ends_what_others_wait_for_or_leaves_anything() {
    // Unoptimised it is slow.
    let sequences = if cfg!(feature = "pure") { SEQUENCES } else { 300 };
    let sum = all(0..sequences);
    let mut report = format!("model of builds, seeds 0..{sequences}\n");
    for (place, count) in &sum {
        writeln!(report, "  {count:8} reached: {place}").unwrap();
    }
    say(&report);
    if sequences == SEQUENCES {
        for (place, of) in PLACES {
            let count = sum.get(place).copied().unwrap_or(0);
            let least = usize::try_from(sequences / of).unwrap();
            assert!(count >= least, "only {count} of {least} came to: {place}");
        }
    }
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn each_fault_of_a_build_is_found() {
    let unasked = Setting {
        unasked: true,
        ..Setting::default()
    };
    let unguarded = Setting {
        mutant: Some(Mutant::Unguarded),
        ..Setting::default()
    };
    let blind = Setting {
        blind: true,
        ..Setting::default()
    };
    for (setting, words) in [
        (blind, "comes to rest as "),
        (unasked, "though the registry has what its key made"),
        (unguarded, "wait for"),
    ] {
        let broken = (0..5000).filter_map(|seed| run(seed, setting, false).0.err());
        let found = broken.filter(|broken| broken.contains(words)).count();
        say(&format!(
            "model of builds, seeds 0..5000, {setting:?}: {found} found\n"
        ));
        assert!(found >= 5, "{setting:?}: {found}");
    }
}
