//! Slipway dies, or is frozen, at each request by which it changes something while a release with a migration comes about.
//! What comes of it is what comes of an undisturbed one: judged by PostgreSQL, whose table of runs has no unique key, by the
//! audit log, and by the invariants over it.
//!
//! The binary runs outside, behind a proxy that counts its requests and takes it away. Several are struck at a time, each
//! in a namespace that it takes for the whole cluster.

mod sweep;
mod trial;

/// What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
        time::{Duration, Instant},
    };

    use serde_json::Value;

    use super::{
        super::support::{Aside, Rights, alone},
        sweep::{Came, FROZEN, KILLED, NOWHERE, Point, Sweep, kind_of},
        trial::{Judged, Place, Trial, places},
    };

    /// Most of a release is waiting for others, so more than the machine has processors.
    const SIDE_BY_SIDE: u16 = 8;

    // === releases ===

    /// A version, and what the layer that gives it says.
    type Round = (&'static str, String);

    /// The releases of a trial, one after the other; each has a migration of its own.
    fn rounds(versions: &[&'static str]) -> Vec<Round> {
        let mut seen = BTreeSet::new();
        let round = |version: &&'static str| {
            // The same image with another command is another migration.
            let again = if seen.insert(*version) {
                ""
            } else {
                "\nmigrate: {args: [/app/bin/migrate, again]}"
            };
            (*version, format!("version: {version}{again}"))
        };
        versions.iter().map(round).collect()
    }

    /// Brings one release about while the binary is killed at a point, and started again; how far it came.
    fn through(trial: &Trial<'_>, (version, fields): &Round, point: Point, starts: &AtomicUsize) -> Came {
        let one = &trial.one;
        one.strike(point.at, point.when, "kill");
        let commit = trial.case.declare(version, fields);
        one.run();
        let begun = one.process().starts;
        trial.until(&format!("{version} is live, {point:?}"), &[one], || {
            let process = one.process();
            if !process.alive {
                assert!(
                    process.fired.is_some() && process.starts == begun,
                    "{}: it ended by itself: {process:?}",
                    trial.case.ns
                );
                one.run();
                starts.fetch_add(1, Ordering::SeqCst);
            }
            trial.is_live(version, &commit) && trial.rests(one)
        });
        Came::of(&one.process())
    }

    /// What undisturbed releases are like.
    struct Reference {
        /// All kinds of requests that would change something and that every one of them had.
        kinds: BTreeSet<String>,
        creations: BTreeMap<String, usize>,
    }

    impl Reference {
        /// Of three, which must agree in what they make.
        fn of(word: &str, places: &[Place<'_>], versions: &[&'static str], covered: &Mutex<Judged>) -> Self {
            let trial = |place: &Place<'_>| {
                let trial = Trial::new(&format!("{word}-none-{}", place.number), place);
                let mut kinds = BTreeSet::new();
                for round in rounds(versions) {
                    through(&trial, &round, NOWHERE, &AtomicUsize::new(0));
                    let wrote = trial.one.process().wrote;
                    println!("{}: {} by {} requests", trial.case.ns, round.0, wrote.len());
                    kinds.extend(wrote.iter().map(|(_, request)| kind_of(request)));
                }
                let creations = trial.judge(versions, covered);
                trial.end();
                (kinds, creations)
            };
            let trial = &trial;
            let trials: Vec<_> = thread::scope(|scope| {
                let begin = |place| scope.spawn(move || trial(place));
                let threads: Vec<_> = places[..3].iter().map(begin).collect();
                threads.into_iter().map(|each| each.join().unwrap()).collect()
            });
            let (kinds, creations) = trials[0].clone();
            assert!(trials.iter().all(|trial| trial.1 == creations), "{trials:?}");
            let kinds = trials.iter().fold(kinds, |all, trial| &all & &trial.0);
            println!("{word}: undisturbed they make {creations:?}, by {kinds:?}");
            Self { kinds, creations }
        }
    }

    // === the tests ===

    #[test]
    #[ignore = "`make crashes` runs it: it takes a bed for itself, and its time"]
    fn killed_at_any_of_its_writes_it_goes_on_where_it_was_and_no_migration_runs_twice() {
        let _services = alone();
        let _aside = Aside::new();
        let rights = Rights::of_the_chart();
        let places = places(&rights, SIDE_BY_SIDE);
        let covered = Mutex::default();
        let versions = ["1.0.0", "1.1.0"];
        let reference = Reference::of("kill", &places, &versions, &covered);
        let (begun, starts) = (Instant::now(), AtomicUsize::new(0));
        let sweep = Sweep::of("kill", KILLED);
        sweep.run(&places, |name, point, place| {
            let trial = Trial::new(name, place);
            let rounds = rounds(&versions);
            let came: Vec<Came> = rounds
                .iter()
                .map(|round| through(&trial, round, point, &starts))
                .collect();
            let made = trial.judge(&versions, &covered);
            assert_eq!(made, reference.creations, "{name}: killed at {came:?}");
            trial.end();
            came
        });
        sweep.told(&reference.kinds);
        let covered = covered.into_inner().unwrap();
        println!(
            "killed {} times in {} s; {}",
            starts.into_inner(),
            begun.elapsed().as_secs(),
            covered.told()
        );
    }

    /// How long somebody was frozen, and how long the other one's release took.
    #[derive(Default)]
    struct Frozen {
        times: Vec<Duration>,
        /// Trials in whose audit log both are seen to write.
        both: usize,
    }

    /// Waits until `one` is frozen at its point, or has brought the release about: whether it is frozen.
    fn froze(trial: &Trial<'_>, version: &str, commit: &str) -> bool {
        let one = &trial.one;
        let mut frozen = false;
        trial.until(&format!("frozen, or {version} is live"), &[one], || {
            frozen = one.process().frozen;
            frozen || (trial.is_live(version, commit) && trial.rests(one))
        });
        frozen
    }

    /// Two controllers without the lease. One is frozen at a point of a first release, until the other one has brought about
    /// that release and the next; and once more at the same point of a third one, until the other one has.
    fn through_two_freezes(trial: &Trial<'_>, point: Point, times: &Mutex<Frozen>) -> Vec<Came> {
        let (one, case) = (&trial.one, &trial.case);
        let two = trial.place.outside(&case.ns, "two", 1);
        let rounds = rounds(&["1.0.0", "1.1.0", "1.0.0"]);
        let mut arrivals = Vec::new();
        let mut left = false;
        for releases in [&rounds[..2], &rounds[2..]] {
            one.strike(point.at, point.when, "freeze");
            let (version, fields) = &releases[0];
            let mut commit = case.declare(version, fields);
            let mut newest = version;
            one.run();
            let frozen = froze(trial, version, &commit);
            left |= frozen && !trial.is_live(version, &commit);
            arrivals.push(Came::of(&one.process()));
            if !frozen {
                // The next release must not come to the point instead.
                one.strike(NOWHERE.at, NOWHERE.when, "freeze");
            }
            let begun = Instant::now();
            if two.process().alive {
                two.thaw();
            } else {
                two.run();
            }
            for (version, fields) in releases {
                if newest != version {
                    commit = case.declare(version, fields);
                    newest = version;
                }
                trial.until(
                    &format!("{version} is live by the other one, {point:?}"),
                    &[&two],
                    || trial.is_live(version, &commit) && trial.rests(&two),
                );
            }
            if frozen {
                times.lock().unwrap().times.push(begun.elapsed());
                one.thaw();
            }
            trial.until(
                &format!("{newest} is live for both, {point:?}"),
                &[one, &two],
                || trial.is_live(newest, &commit) && trial.rests(one) && trial.rests(&two),
            );
            two.freeze();
        }
        let events = trial.mutations();
        let by = |name: &str| {
            let agent = |event: &&Value| event["userAgent"].as_str().unwrap_or("").contains(name);
            events.iter().filter(agent).count()
        };
        let (ones, twos) = (by(" one-"), by(" two-"));
        assert!(
            ones > 0 || twos > 0,
            "{}: who writes is told by the user agent",
            case.ns
        );
        // Who was frozen before all was done left something to the other one.
        assert!(twos > 0 || !left, "{}: {arrivals:?}", case.ns);
        times.lock().unwrap().both += usize::from(ones > 0 && twos > 0);
        arrivals
    }

    #[test]
    #[ignore = "`make crashes` runs it: it takes a bed for itself, and its time"]
    fn of_two_without_a_lease_one_frozen_at_any_of_its_writes_breaks_nothing_when_it_goes_on() {
        let _services = alone();
        let _aside = Aside::new();
        let rights = Rights::of_the_chart();
        let places = places(&rights, SIDE_BY_SIDE);
        let covered = Mutex::default();
        let versions = ["1.0.0", "1.1.0", "1.0.0"];
        let reference = Reference::of("freeze", &places, &versions, &covered);
        let (begun, times) = (Instant::now(), Mutex::default());
        let sweep = Sweep::of("freeze", FROZEN);
        sweep.run(&places, |name, point, place| {
            let trial = Trial::new(name, place);
            let came = through_two_freezes(&trial, point, &times);
            let mut made = trial.judge(&versions, &covered);
            // What was asked for too late is made, and goes again: a Job without having run, and the guard of one that is over.
            for resource in ["jobs", "poddisruptionbudgets"] {
                made.insert(resource.to_owned(), reference.creations[resource]);
            }
            assert_eq!(made, reference.creations, "{name}: frozen at {came:?}");
            trial.end();
            came
        });
        sweep.told(&reference.kinds);
        let (covered, frozen) = (covered.into_inner().unwrap(), times.into_inner().unwrap());
        assert!(frozen.both > 0, "the audit log shows writes of both");
        println!(
            "frozen {} times for {:.0} to {:.0} s, in {} s; both wrote in {} trials; {}",
            frozen.times.len(),
            frozen.times.iter().min().unwrap().as_secs_f64(),
            frozen.times.iter().max().unwrap().as_secs_f64(),
            begun.elapsed().as_secs(),
            frozen.both,
            covered.told()
        );
    }
}
