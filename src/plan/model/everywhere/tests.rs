//! The scopes that are searched.

use super::{
    super::super::mutant::{self, Mutant},
    Found, Scope,
    name::Names,
    say, search,
};
use crate::trace::Invariant;

#[test]
fn states_that_differ_in_names_alone_are_one() {
    let one = Names::default().anew("uid-7 rv12 uid-7 serve3 pod-1");
    let other = Names::default().anew("uid-9 rv30 uid-9 serve3 pod-4");
    assert_eq!(one, "#0 #1 #0 serve3 #2");
    assert_eq!(one, other);
    assert_ne!(one, Names::default().anew("uid-9 rv30 uid-8 serve3 pod-4"));
}

fn told(scope: Scope) -> Found {
    let started = std::time::Instant::now();
    let found = search(scope);
    let seconds = started.elapsed().as_secs_f64();
    let report = format!(
        "model, every order of {scope:?}:\n  {} distinct states, {} steps, at most {} deep, {seconds:.1} s\n  came to rest as \
         {:?}\n  judged at the ends: {}\n",
        found.states, found.steps, found.depth, found.ends, found.judged
    );
    say(&report);
    found
}

/// Whether a search came far enough, to these ends among others, and judged something on its way.
fn comes_to(found: &Found, states: usize, ends: &[&str]) {
    assert!(found.states >= states, "only {} states", found.states);
    for end in ends {
        assert!(found.ends.contains_key(*end), "never {end}: {:?}", found.ends);
    }
    for invariant in [Invariant::S2, Invariant::S3, Invariant::S10, Invariant::Claim] {
        assert!(found.judged.instances(invariant) > 0, "{invariant}");
    }
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn no_order_of_two_versions_breaks_an_invariant() {
    let found = told(Scope {
        versions: 2,
        hands: 0,
        hindered: false,
    });
    comes_to(&found, 500, &["Failed(Migrating) 1.0.0", "Live 2.0.0"]);
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn no_order_breaks_an_invariant_where_somebody_deletes_a_job_or_a_pod() {
    let found = told(Scope {
        versions: 2,
        hands: 1,
        hindered: true,
    });
    comes_to(&found, 1000, &["Failed(Migrating) 1.0.0", "Live 2.0.0"]);
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn no_order_of_three_versions_breaks_an_invariant() {
    let found = told(Scope {
        versions: 3,
        hands: 0,
        hindered: false,
    });
    comes_to(&found, 50_000, &THREE);
}

#[test]
#[ignore = "`make soak` runs it: it takes minutes"]
fn no_order_of_three_versions_breaks_an_invariant_where_somebody_deletes_a_job_or_a_pod() {
    let found = told(Scope {
        versions: 3,
        hands: 1,
        hindered: false,
    });
    comes_to(&found, 100_000, &THREE);
}

/// Where three versions end, of which the third crashes.
const THREE: [&str; 4] = [
    "Failed(Migrating) 1.0.0",
    "Failed(Migrating) 2.0.0",
    "RolledBack 1.0.0",
    "RolledBack 2.0.0",
];

/// What a search says of the first fault that it comes to.
fn broken_by(mutant: Mutant, scope: Scope) -> Option<String> {
    let search = std::thread::spawn(move || mutant::with(Some(mutant), || search(scope).states));
    let told = search.join().err()?;
    let told = told.downcast_ref::<String>().unwrap();
    told.lines().next().map(ToOwned::to_owned)
}

#[test]
#[cfg_attr(not(feature = "pure"), ignore = "`make model` runs it, compiled for speed")]
fn a_search_finds_the_fault_that_is_put_in() {
    let nobody = Scope {
        versions: 2,
        hands: 0,
        hindered: false,
    };
    let somebody = Scope { hands: 1, ..nobody };
    for (mutant, scope, invariant) in [
        (Mutant::GateDropped, nobody, Invariant::S3),
        (Mutant::ResumeWithoutClaim, nobody, Invariant::Claim),
        (Mutant::Unguarded, nobody, Invariant::S10),
        (Mutant::MissingIsNotRun, somebody, Invariant::S2),
        (Mutant::MissingIsDone, somebody, Invariant::S4),
    ] {
        let told = broken_by(mutant, scope);
        say(&format!(
            "model, every order of {scope:?}, {mutant:?}: {told:?}\n"
        ));
        let name = format!("{invariant}:");
        assert!(told.is_some_and(|told| told.contains(&name)), "{mutant:?}");
    }
}
