//! Whether an image is built, when it is built again, and when its build is nobody's any more.
//!
//! A build is known by its key: what goes into the image. Who wants an image joins the build of its key, or begins it; who
//! wants another one leaves, and the last one to leave ends it. The commit is resolved once: as long as a release waits for
//! a build, that build's commit is what it means.

use std::time::Duration;

use super::{
    decide::POLL,
    decision::{BUILD_LOG, BuildStep, Decision, Phase, Step, Wait},
    keep::meanwhile,
    ladder,
    observed::{Again, BuildSeen, BuildState, BuilderSeen, Claims, CommitSeen, Declaration, Observed},
};
use crate::{
    build::key::{Inputs, Wanted},
    names::{CommitId, Digest},
    spec::Declared,
};

/// How long until it is looked again how far a build is: one status at most is written in that time.
pub const PROGRESS: Duration = Duration::from_secs(10);
/// Jobs of one key at most since somebody asked for it, where what failed may succeed.
const MOST_RUNS: u32 = 3;
/// How long until what failed through no fault of its own is begun again; as much longer as often.
const PAUSE: Duration = Duration::from_secs(20);

/// What of a build is the one that is wanted now.
pub(super) enum Built {
    /// Nothing is built for this release: its image is waited for.
    NotHere,
    /// The registry has taken what was built, as its Job says: it is asked.
    Pushed,
    /// This goes on meanwhile.
    Going(Box<Decision>),
}

/// The build that goes on for this release, while the registry need not be asked.
pub(super) fn under_way(o: &Observed, declared: &Declared) -> Option<Decision> {
    let own = own(o, declared)?;
    matches!(own.state, BuildState::Waiting(_) | BuildState::Running { .. })
        .then(|| progress(o, declared, own))
}

/// What is built where the registry has no image.
pub(super) fn build(o: &Observed, declared: &Declared) -> Built {
    let reference = declared.image.reference();
    let Some(wanted) = Wanted::of(declared, &reference) else {
        return Built::NotHere;
    };
    let builder = match &o.builder {
        BuilderSeen::Off => return Built::NotHere,
        BuilderSeen::Ready(builder) => builder,
        BuilderSeen::Checking(_) => {
            let message =
                format!("{reference} is to be built; whether the builder can run here is being tried");
            return going(
                o,
                declared,
                Phase::Waiting("BuilderNotReady".into()),
                message,
                POLL,
            );
        }
        BuilderSeen::Unfit(_, why) => {
            let message = format!("{reference} is to be built, and the builder cannot run here: {why}");
            return going(
                o,
                declared,
                Phase::Waiting("BuilderNotReady".into()),
                message,
                POLL,
            );
        }
        BuilderSeen::Refused(why) => {
            let message = format!("{reference} is not built: {why}");
            return going(o, declared, Phase::Waiting("BuildRefused".into()), message, POLL);
        }
    };
    let commit = match own(o, declared) {
        // Whoever asks for another attempt means the commit of now.
        Some(own) if !is_asked_again(own, declared) => own.commit.clone(),
        _ => match ladder::commit(o, declared) {
            Ok(commit) => commit,
            Err(decision) => return Built::Going(decision),
        },
    };
    let key = Inputs::of(wanted, builder).at(&commit);
    let mut of_key: Vec<&BuildSeen> = o.builds.iter().filter(|build| build.key == key.short()).collect();
    of_key.sort_by_key(|build| build.run);
    let Some(last) = of_key.last() else {
        return begin(o, declared, &commit, Run::first());
    };
    if last.wanted.is_none() {
        return join(o, declared, last);
    }
    match &last.state {
        BuildState::Waiting(_) | BuildState::Running { .. } => {
            Built::Going(Box::new(progress(o, declared, last)))
        }
        _ if is_asked_again(last, declared) => begin(o, declared, &commit, Run::asked_after(last)),
        BuildState::Pushed(_) => Built::Pushed,
        BuildState::Failed { .. } => failed(o, declared, last),
    }
}

fn failed(o: &Observed, declared: &Declared, last: &BuildSeen) -> Built {
    let BuildState::Failed {
        sentence,
        tail,
        again,
        over_for,
    } = &last.state
    else {
        return Built::NotHere;
    };
    let what = format!(
        "{} could not be built from commit {}",
        declared.version,
        last.commit.short()
    );
    let may = match again {
        Again::No => false,
        Again::AfterPause => last.tries < MOST_RUNS,
        // Twice as much is given once.
        Again::WithMoreMemory => !last.larger && last.tries < MOST_RUNS,
        // What was asked for since, as the sentence says.
        Again::WithMoreTime => declared
            .build
            .as_ref()
            .is_some_and(|build| build.timeout.to_std() > last.timeout),
    };
    if !may {
        let tried = if last.tries > 1 {
            format!(" ({} times)", last.tries)
        } else {
            String::new()
        };
        let message = format!("{what}{tried}: {sentence}");
        let mut decision = meanwhile(o, declared).saying(Phase::Failed("BuildFailed"), message);
        if !tail.is_empty() {
            decision.report.details.push((BUILD_LOG, tail.clone()));
        }
        return Built::Going(Box::new(decision.after(POLL)));
    }
    let pause = PAUSE * last.tries;
    if *over_for < pause {
        let message = format!("{what}: {sentence}; it is begun again soon");
        return going(
            o,
            declared,
            Phase::Building,
            message,
            pause.saturating_sub(*over_for),
        );
    }
    let run = Run {
        number: last.run.saturating_add(1),
        tries: if *again == Again::WithMoreTime {
            1
        } else {
            last.tries.saturating_add(1)
        },
        larger: last.larger || *again == Again::WithMoreMemory,
    };
    begin(o, declared, &last.commit, run)
}

/// The newest of the builds that this release waits for which is of what it declares, whatever its commit.
fn own<'a>(o: &'a Observed, declared: &Declared) -> Option<&'a BuildSeen> {
    let builder = o.builder.version()?;
    let reference = declared.image.reference();
    let inputs = Inputs::of(Wanted::of(declared, &reference)?, builder);
    let of_inputs = o
        .builds
        .iter()
        .filter(|build| build.wanted.is_some() && build.inputs == inputs.short());
    // What a commit asked for again comes after what it was asked for instead of, however often that was tried.
    of_inputs.max_by_key(|build| (build.wanted, build.run))
}

/// What this release waited for that the registry has taken, with its digest.
fn pushed<'a>(o: &'a Observed, declared: &Declared) -> Option<(&'a BuildSeen, Option<&'a Digest>)> {
    match own(o, declared)? {
        build @ BuildSeen {
            state: BuildState::Pushed(digest),
            ..
        } => Some((build, digest.as_ref())),
        _ => None,
    }
}

/// The build of an image that was built for this release.
pub(super) fn of<'a>(o: &'a Observed, declared: &Declared, digest: &Digest) -> Option<&'a BuildSeen> {
    let (build, pushed) = pushed(o, declared)?;
    pushed.is_none_or(|pushed| pushed == digest).then_some(build)
}

/// How an image was obtained that was built here.
pub(super) fn named(build: &BuildSeen) -> String {
    format!("{} of commit {}", build.job, build.commit.short())
}

/// What is told as long as an image runs in whose source something was found.
pub(super) fn told(o: &Observed) -> Option<(&'static str, String)> {
    (!o.warned.is_empty()).then(|| ("SourceWarned", o.warned.join("; ")))
}

/// Whether an image is not used because only what is built here is to run. One that says that it was built by this very key was
/// built here for somebody else, and is not built twice.
pub(super) fn is_anothers(o: &Observed, declared: &Declared, digest: &Digest, claims: &[Claims]) -> bool {
    let always = declared.build.as_ref().is_some_and(|build| build.always);
    always && of(o, declared, digest).is_none() && !is_of_key(o, declared, claims)
}

fn is_of_key(o: &Observed, declared: &Declared, claims: &[Claims]) -> bool {
    let reference = declared.image.reference();
    let (Some(wanted), Some(builder), CommitSeen::Known(commit)) =
        (Wanted::of(declared, &reference), o.builder.version(), &o.commit)
    else {
        return false;
    };
    let key = Inputs::of(wanted, builder).at(commit);
    let says = |claims: &Claims| claims.key.as_deref() == Some(key.short());
    !claims.is_empty() && claims.iter().all(says)
}

/// Whether a commit has raised `attempt` since this release came to wait for what failed.
fn is_asked_again(build: &BuildSeen, declared: &Declared) -> bool {
    let over = matches!(build.state, BuildState::Failed { .. } | BuildState::Pushed(_));
    over && build.wanted.is_some_and(|attempt| attempt < declared.attempt)
}

/// A Job that is to be made.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Which of its key.
    number: u32,
    /// Which of those since somebody asked for it.
    tries: u32,
    /// Whether it is given more memory than usual.
    larger: bool,
}

impl Run {
    fn first() -> Self {
        Self {
            number: 1,
            tries: 1,
            larger: false,
        }
    }

    /// The first that a commit asked for again.
    fn asked_after(last: &BuildSeen) -> Self {
        Self {
            number: last.run.saturating_add(1),
            tries: 1,
            larger: last.larger,
        }
    }
}

fn begin(o: &Observed, declared: &Declared, commit: &CommitId, run: Run) -> Built {
    let message = format!(
        "{} is going to be built from commit {}",
        declared.version,
        commit.short()
    );
    step(
        o,
        declared,
        BuildStep::Create {
            commit: commit.clone(),
            run: run.number,
            tries: run.tries,
            larger: run.larger,
        },
        message,
    )
}

fn join(o: &Observed, declared: &Declared, build: &BuildSeen) -> Built {
    let message = format!("{} is being built for others already", declared.version);
    let (job, uid) = (build.job.clone(), build.uid.clone());
    let over = build.resource_version.clone();
    step(o, declared, BuildStep::Join { job, uid, over }, message)
}

fn step(o: &Observed, declared: &Declared, step: BuildStep, message: String) -> Built {
    let mut decision = meanwhile(o, declared).saying(Phase::Building, message);
    decision.steps.push(Step::Build(step));
    decision.wait = Wait::Again;
    Built::Going(Box::new(decision))
}

fn progress(o: &Observed, declared: &Declared, build: &BuildSeen) -> Decision {
    let what = format!(
        "{} is being built from commit {}",
        declared.version,
        build.commit.short()
    );
    let message = match &build.state {
        BuildState::Running { doing, running_for } => {
            format!("{what}: {doing} ({})", rounded(*running_for))
        }
        BuildState::Waiting(Some(why)) => format!("{what}; its pod has not started: {why}"),
        _ => format!("{what}; its pod is starting"),
    };
    meanwhile(o, declared)
        .saying(Phase::Building, message)
        .after(PROGRESS)
}

/// `1m 20s`, by tens of seconds: a status says something new only as often.
fn rounded(time: Duration) -> String {
    let seconds = time.as_secs() / 10 * 10;
    match (seconds / 60, seconds % 60) {
        (0, 0) => "just begun".to_owned(),
        (0, seconds) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m {seconds}s"),
    }
}

fn going(o: &Observed, declared: &Declared, phase: Phase, message: String, after: Duration) -> Built {
    Built::Going(Box::new(
        meanwhile(o, declared).saying(phase, message).after(after),
    ))
}

/// What notes how builds failed that this release waits for: a pod that is over goes with its node, and what is known of it
/// would go with it.
pub(super) fn booked(o: &Observed) -> Vec<Step> {
    let of = |build: &BuildSeen| match &build.state {
        BuildState::Failed {
            sentence,
            tail,
            again,
            ..
        } if build.wanted.is_some() && !build.booked => Some(Step::Build(BuildStep::Book {
            job: build.job.clone(),
            uid: build.uid.clone(),
            over: build.resource_version.clone(),
            sentence: sentence.clone(),
            tail: tail.clone(),
            again: *again,
        })),
        _ => None,
    };
    o.builds.iter().filter_map(of).collect()
}

/// What ends the builds that this release does not wait for any more.
pub(super) fn left(o: &Observed) -> Vec<Step> {
    let declared = match &o.declaration {
        Declaration::Valid(declared) => Some(declared),
        Declaration::Removing | Declaration::NoVersion => None,
        // What is meant is not known.
        Declaration::Invalid(_) | Declaration::Edited | Declaration::SourceGone(_) => return Vec::new(),
    };
    let reference = declared.map(|declared| declared.image.reference());
    let inputs = match (declared, &reference, o.builder.version()) {
        // One version has one image: that of its revision.
        (Some(declared), Some(reference), Some(builder)) if o.pin.is_none() => {
            Wanted::of(declared, reference).map(|wanted| Inputs::of(wanted, builder))
        }
        _ => None,
    };
    let own = declared.and_then(|declared| Some((own(o, declared)?, declared)));
    // As it was resolved for this build, whatever the reference names by now.
    let meant = own.filter(|(own, declared)| !is_asked_again(own, declared));
    let is_wanted = |build: &BuildSeen| {
        let of_inputs = inputs
            .as_ref()
            .is_some_and(|inputs| build.inputs == inputs.short());
        let of_commit = match (meant, &o.commit) {
            (Some((meant, _)), _) => build.key == meant.key,
            (None, CommitSeen::Known(commit)) => build.commit == *commit,
            (None, _) => own.is_none_or(|(own, _)| build.key == own.key),
        };
        of_inputs && of_commit
    };
    let gone = o
        .builds
        .iter()
        .filter(|build| build.wanted.is_some() && !is_wanted(build));
    gone.map(|build| {
        let (job, uid) = (build.job.clone(), build.uid.clone());
        let over = build.resource_version.clone();
        Step::Build(if build.others > 0 {
            BuildStep::Leave { job, uid, over }
        } else {
            BuildStep::Delete { job, uid, over }
        })
    })
    .collect()
}

#[cfg(test)]
mod tests;
