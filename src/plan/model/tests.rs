//! The sequences of `make test`, and of `make soak`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::{
    super::mutant::Mutant,
    reach::{PLACES, Place},
    removal,
    sequence::{Sequence, Setting},
};
use crate::trace::{self, Invariant};

/// Sequences of `make test`, in parts that run side by side; with those of `removal` they are 100,000.
const PART: u64 = 20_000;

/// Sequences of each piece of work of a soak.
const PIECE: u64 = 10_000;

/// What broke in the sequence of a seed, and the shortest story that still breaks it.
fn story(seed: u64, setting: Setting) -> String {
    let sequence = Sequence::of(seed).shrink(setting);
    let (result, story) = sequence.told(setting, true);
    format!(
        "seed {seed} ({setting:?}, direct: {}), {} moves: {}\n{}",
        sequence.direct,
        sequence.moves.len(),
        result.err().map_or_else(String::new, |v| v.to_string()),
        story.join("\n")
    )
}

/// Past the test harness, which shows what a test prints only when it fails. One write, so that parts that run side by
/// side do not mix their lines.
fn say(report: &str) {
    std::io::stderr().write_all(report.as_bytes()).unwrap();
}

/// What many sequences came to.
#[derive(Default)]
struct Sum {
    sequences: usize,
    places: BTreeMap<Place, usize>,
    ends: BTreeMap<String, usize>,
    judged: trace::Coverage,
}

impl Sum {
    /// Runs these seeds; the first that breaks something is told.
    fn of(seeds: std::ops::Range<u64>) -> Self {
        let mut sum = Self::default();
        for seed in seeds {
            assert!(sum.holds_for(seed), "{}", story(seed, Setting::default()));
        }
        sum
    }

    /// Runs this seed; whether it broke nothing.
    fn holds_for(&mut self, seed: u64) -> bool {
        let Ok(outcome) = Sequence::of(seed).run(Setting::default()) else {
            return false;
        };
        self.sequences += 1;
        for place in PLACES.iter().filter(|place| outcome.reached.has(**place)) {
            *self.places.entry(*place).or_default() += 1;
        }
        *self.ends.entry(outcome.end).or_default() += 1;
        self.judged.add(&outcome.judged);
        true
    }

    fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        for (place, count) in other.places {
            *self.places.entry(place).or_default() += count;
        }
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.judged.add(&other.judged);
    }

    fn report(&self, seeds: std::ops::Range<u64>) -> String {
        let mut report = format!("model, seeds {seeds:?}: {} sequences\n", self.sequences);
        for place in PLACES {
            let count = self.places.get(place).copied().unwrap_or(0);
            writeln!(report, "  {count:8} reached: {place}").unwrap();
        }
        writeln!(report, "  came to rest as {:?}", self.ends).unwrap();
        writeln!(report, "  judged: {}", self.judged).unwrap();
        report
    }

    /// Whether it came to every place, judged every invariant, and often.
    fn holds(&self) {
        let often = |count: usize, of: usize, what: &dyn std::fmt::Display| {
            let least = self.sequences / of;
            assert!(
                count >= least,
                "only {count} of {least} sequences reached: {what}"
            );
        };
        for place in PLACES {
            let of = match place {
                common if COMMON.contains(common) => 10,
                // A version that failed, a value that changed after that, and time.
                Place::KeptUp => 4000,
                _ => 2000,
            };
            often(self.places.get(place).copied().unwrap_or(0), of, place);
        }
        for invariant in JUDGED {
            often(self.judged.instances(invariant), 100, &invariant);
        }
    }
}

/// Where one in ten comes to at least; to the others it is one in two thousand, or fewer where that is said.
const COMMON: [Place; 7] = [
    Place::Claimed,
    Place::CrashAfterClaim,
    Place::LostCreate,
    Place::Vanished,
    Place::StaleGate,
    Place::Succeeded,
    Place::Withdrawn,
];

/// What the model can break: no violation of one that judged nothing would say nothing.
const JUDGED: [Invariant; 18] = [
    Invariant::S1,
    Invariant::S2,
    Invariant::S3,
    Invariant::S4,
    Invariant::S5,
    Invariant::S6,
    Invariant::S7,
    Invariant::S8,
    Invariant::S10,
    Invariant::S12,
    Invariant::S15,
    Invariant::S19,
    Invariant::Claim,
    Invariant::Ledger,
    Invariant::Schema,
    Invariant::L1,
    Invariant::L2,
    Invariant::L3,
];

/// So many in a second.
fn rate(count: u64, since: Instant) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / since.elapsed().as_secs_f64()
}

fn part(number: u64) {
    let started = Instant::now();
    let seeds = number * PART..(number + 1) * PART;
    let sum = Sum::of(seeds.clone());
    let rate = rate(PART, started);
    say(&format!("{}  {rate:.0} sequences a second\n", sum.report(seeds)));
    sum.holds();
}

#[test]
fn a_few_sequences_break_no_invariant() {
    Sum::of(0..100);
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn no_sequence_breaks_an_invariant_part_0() {
    part(0);
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn no_sequence_breaks_an_invariant_part_1() {
    part(1);
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn no_sequence_breaks_an_invariant_part_2() {
    part(2);
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn no_sequence_breaks_an_invariant_part_3() {
    part(3);
}

/// As many as `SLIPWAY_SEQUENCES` says, from `SLIPWAY_SEED` on, on all processors; nothing is kept but the sums. What breaks
/// an invariant is told at once and the others go on: hours of a soak are not lost to its first find.
#[test]
#[ignore = "`make soak` runs it: it takes hours"]
fn a_soak_breaks_no_invariant() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("SLIPWAY_SEED").unwrap_or(1_000_000);
    let count = number("SLIPWAY_SEQUENCES").unwrap_or(10_000_000);
    let (started, next) = (Instant::now(), AtomicU64::new(first));
    let broken = AtomicU64::new(0);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let from = next.fetch_add(PIECE, Ordering::Relaxed);
            if from >= first + count {
                return sum;
            }
            for seed in from..(from + PIECE).min(first + count) {
                if !sum.holds_for(seed) {
                    broken.fetch_add(1, Ordering::Relaxed);
                    say(&format!("soak: {}\n", story(seed, Setting::default())));
                }
            }
            let done = (from + PIECE - first).min(count);
            let rate = rate(done, started);
            say(&format!(
                "soak: {done} of {count} sequences, {rate:.0} a second\n"
            ));
        }
    };
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().unwrap().get();
        let working: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        working.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = Sum::default();
    for sum in sums {
        all.add(sum);
    }
    say(&all.report(first..first + count));
    let broken = broken.into_inner();
    assert_eq!(broken, 0, "sequences broke an invariant, see above");
    all.holds();
}

/// How many of the first seeds find a fault, and by which invariants.
fn found(mutant: Mutant, seeds: u64) -> BTreeMap<String, usize> {
    let setting = Setting {
        mutant: Some(mutant),
        ..Setting::default()
    };
    let mut found = BTreeMap::new();
    for seed in 0..seeds {
        if let Err(violation) = Sequence::of(seed).run(setting) {
            for name in violation.names {
                *found.entry(name).or_default() += 1;
            }
        }
    }
    say(&format!("model, seeds 0..{seeds}, {mutant:?}: {found:?}\n"));
    found
}

/// Each fault, the invariant that it breaks, how many seeds are tried, and how many of them find it at least. The true code
/// passes all of them in part 0.
const FAULTS: [(Mutant, &str, u64, usize); 15] = [
    (Mutant::GateDropped, "S3", 400, 100),
    (Mutant::MissingIsDone, "S6", 400, 4),
    (Mutant::MissingIsNotRun, "S2", 2000, 4),
    (Mutant::AnySuccess, "S6", 400, 10),
    (Mutant::CompleteIsDone, "S6", 1000, 4),
    (Mutant::FailureRetried, "Ledger", 400, 10),
    (Mutant::ResumeWithoutClaim, "Claim", 400, 100),
    (Mutant::LockIgnored, "S1", 4000, 3),
    (Mutant::UnmarkedWithdrawal, "Claim", 4000, 5),
    (Mutant::BarrierIgnored, "Schema", 40000, 2),
    (Mutant::StrangerIsOurs, "S7", 1000, 4),
    (Mutant::TagAskedAgain, "S15", 3000, 4),
    (Mutant::Restless, "S19", 100, 20),
    (Mutant::Unguarded, "S10", 400, 50),
    (Mutant::UidIgnored, "S7", 2000, 4),
];

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn each_fault_is_found_by_the_invariant_that_it_breaks() {
    let mut missed = Vec::new();
    for (mutant, invariant, seeds, least) in FAULTS {
        let count = found(mutant, seeds).get(invariant).copied().unwrap_or(0);
        if count < least {
            missed.push(format!("{mutant:?}: {invariant} {count} of {least}"));
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn the_page_on_invariants_names_each_fault_and_what_it_breaks() {
    let page = include_str!("../../../docs/invariants.md");
    let (_, table) = page.split_once("## Faults that must be found").unwrap();
    let told: BTreeSet<(String, String)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .flat_map(|(fault, rest)| {
            let broken = rest.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
            broken
                .split(',')
                .map(|invariant| (fault.to_owned(), invariant.trim().to_owned()))
        })
        .collect();
    let of_removal = removal::tests::FAULTS.map(|(mutant, invariant, _)| (mutant, invariant));
    let found: BTreeSet<(String, String)> = FAULTS
        .map(|(mutant, invariant, ..)| (mutant, invariant))
        .into_iter()
        .chain(of_removal)
        .map(|(mutant, invariant)| (format!("{mutant:?}"), invariant.to_owned()))
        .collect();
    assert_eq!(told, found);
}

/// What the reads of `cluster` must hold to, shown by what breaks where they do not.
#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn a_start_time_taken_as_the_only_sign_of_a_resume_is_found() {
    let setting = Setting {
        start_time_only: true,
        ..Setting::default()
    };
    // Rare: a Job must be suspended while it runs, and its version be declared again.
    let first = (0..20_000).find(|seed| {
        let result = Sequence::of(*seed).run(setting);
        result.is_err_and(|violation| violation.names.contains("S2"))
    });
    say(&format!("model: S2 is first broken by seed {first:?}\n"));
    assert!(first.is_some());
}

#[test]
#[ignore = "tells the story of SLIPWAY_SEED"]
fn one_seed() {
    let seed = std::env::var("SLIPWAY_SEED").unwrap().parse().unwrap();
    let (result, story) = Sequence::of(seed).told(Setting::default(), true);
    let result = result.map(|outcome| outcome.end);
    println!("{}\n{result:?}", story.join("\n"));
}
