//! The sequences of removal.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _};

use super::{super::super::mutant::Mutant, sequence};
use crate::trace::{self, Invariant};

const SEQUENCES: u64 = 20_000;

fn say(report: &str) {
    std::io::stderr().write_all(report.as_bytes()).unwrap();
}

#[test]
fn no_sequence_of_a_source_breaks_an_invariant() {
    // Unoptimised it is slow.
    let sequences = if cfg!(feature = "pure") { SEQUENCES } else { 500 };
    let mut judged = trace::Coverage::default();
    let (mut removed, mut kept, mut rewritten) = (0, 0, 0);
    for seed in 0..sequences {
        match sequence::run(seed, None) {
            Ok(outcome) => {
                judged.add(&outcome.judged);
                removed += usize::from(outcome.removed > 0);
                kept += usize::from(outcome.kept > 0);
                rewritten += usize::from(outcome.rewritten);
            }
            Err(violation) => {
                let (_, story) = sequence::told(seed, None, true);
                panic!("seed {seed}: {violation}\n{}", story.join("\n"));
            }
        }
    }
    let mut report = format!("model of removal, seeds 0..{sequences}\n");
    writeln!(
        report,
        "  {removed} removed something, {kept} kept what had vanished, {rewritten} refused a rewritten history"
    )
    .unwrap();
    writeln!(report, "  judged: {judged}").unwrap();
    say(&report);
    let least = usize::try_from(sequences / 4).unwrap();
    assert!(removed >= least && kept >= least && rewritten >= least / 4);
    for invariant in [Invariant::S7, Invariant::S9, Invariant::S14, Invariant::L6] {
        assert!(judged.instances(invariant) >= least, "{invariant}");
    }
}

/// Each fault, the invariant that it breaks, and how many of 2,000 sequences find it at least.
pub const FAULTS: [(Mutant, &str, usize); 5] = [
    (Mutant::RemovedInDoubt, "S9", 10),
    (Mutant::RemovedWithoutLimit, "S9", 10),
    (Mutant::RewriteFollowed, "S14", 10),
    (Mutant::Unguarded, "S14", 4),
    (Mutant::RemovedAllTheSame, "S9", 4),
];

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn each_fault_of_a_removal_is_found_by_the_invariant_that_it_breaks() {
    for (mutant, invariant, least) in FAULTS {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..2000 {
            if let Err(violation) = sequence::run(seed, Some(mutant)) {
                for name in violation.names {
                    *found.entry(name).or_default() += 1;
                }
            }
        }
        say(&format!(
            "model of removal, seeds 0..2000, {mutant:?}: {found:?}\n"
        ));
        let count = found.get(invariant).copied().unwrap_or(0);
        assert!(count >= least, "{mutant:?}: {invariant} {count} of {least}");
    }
}
