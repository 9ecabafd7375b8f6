use super::*;
use crate::{
    api::{Duration as Span, release::Agree},
    plan::{
        decide, fixtures,
        observed::{Claim, ClaimedBy, Claims, ImageSeen},
    },
    repository::{GitUrl, RefName},
    spec::declared::{self, BuildSpec, ImagePick, OriginRef},
};

const BUILDER: &str = "buildkit@sha256:1 rootless";
const COMMIT: &str = "3f9c2a71d0c4b5e6f708192a3b4c5d6e7f809102";
const LATER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn spec() -> Declared {
    let mut spec = fixtures::declared(2);
    spec.image.pick = ImagePick::Tag("2.0.0".to_owned());
    spec.origin = Some(declared::Origin {
        git: GitUrl::parse("https://git.example.com/acme/shop.git", false).unwrap(),
        reference: OriginRef::Tag(RefName::tag("v2.0.0").unwrap()),
        path: ".".to_owned(),
        secret: None,
    });
    spec.build = Some(BuildSpec {
        always: false,
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        test_target: None,
        args: std::collections::BTreeMap::new(),
        secrets: std::collections::BTreeMap::new(),
        platforms: Vec::new(),
        locks: Agree::Enforce,
        timeout: Span::from_secs(1800),
    });
    spec
}

/// The registry has no such image, and everything else was asked.
fn missing() -> Observed {
    let mut o = fixtures::observed(spec());
    o.builder = BuilderSeen::Ready(BUILDER.to_owned());
    o.image = ImageSeen::Missing;
    o.commit = CommitSeen::Known(commit(COMMIT));
    o
}

fn commit(text: &str) -> CommitId {
    text.parse().unwrap()
}

fn declared_of(o: &Observed) -> Declared {
    match &o.declaration {
        Declaration::Valid(declared) => (**declared).clone(),
        other => panic!("{other:?}"),
    }
}

fn change(o: &mut Observed, change: impl FnOnce(&mut Declared)) {
    let mut declared = declared_of(o);
    change(&mut declared);
    o.declaration = Declaration::Valid(Box::new(declared));
}

/// A build of what is declared, which this release waits for.
fn job(o: &Observed, of: &str, run: u32, state: BuildState) -> BuildSeen {
    let declared = declared_of(o);
    let reference = declared.image.reference();
    let inputs = Inputs::of(Wanted::of(&declared, &reference).unwrap(), BUILDER);
    let key = inputs.at(&commit(of));
    BuildSeen {
        job: key.job(run),
        uid: fixtures::uid(&format!("build-{run}")),
        resource_version: "7".to_owned(),
        key: key.short().to_owned(),
        inputs: inputs.short().to_owned(),
        commit: commit(of),
        run,
        tries: run,
        larger: false,
        timeout: Duration::from_secs(1800),
        booked: true,
        wanted: Some(0),
        others: 0,
        warned: Vec::new(),
        state,
    }
}

fn running() -> BuildState {
    BuildState::Running {
        doing: "[builder 5/9] RUN mix release".to_owned(),
        running_for: Duration::from_secs(87),
    }
}

fn failed(again: Again, over_for: u64) -> BuildState {
    BuildState::Failed {
        sentence: "the step failed".to_owned(),
        tail: "the end of it".to_owned(),
        again,
        over_for: Duration::from_secs(over_for),
    }
}

fn steps(o: &Observed) -> Vec<BuildStep> {
    let steps = decide(o).steps.into_iter();
    steps
        .filter_map(|step| match step {
            Step::Build(step) => Some(step),
            _ => None,
        })
        .collect()
}

fn said(o: &Observed) -> (Phase, String) {
    let report = decide(o).report;
    (report.phase, report.message)
}

/// The first of its key, or one that is tried once more.
fn create(of: &str, run: u32, larger: bool) -> BuildStep {
    BuildStep::Create {
        commit: commit(of),
        run,
        tries: run,
        larger,
    }
}

/// The first that a commit asked for again.
fn asked_again(of: &str, run: u32) -> BuildStep {
    BuildStep::Create {
        commit: commit(of),
        run,
        tries: 1,
        larger: false,
    }
}

#[test]
fn what_the_registry_lacks_is_built_once_the_commit_is_known() {
    let mut o = missing();
    assert_eq!(steps(&o), [create(COMMIT, 1, false)]);
    o.commit = CommitSeen::NotAsked;
    assert_eq!(steps(&o), []);
    assert!(decide(&o).steps.contains(&Step::AskCommit));
    o.commit = CommitSeen::Failed {
        reason: "RefNotFound".to_owned(),
        message: "there is no such tag".to_owned(),
    };
    let (phase, message) = said(&o);
    assert_eq!(phase, Phase::Waiting("RefNotFound".into()), "{message}");
    assert_eq!(message, "there is no such tag", "it is a whole sentence");
}

#[test]
fn nothing_is_built_without_a_builder_a_source_or_where_the_spec_says_never() {
    let waiting = Phase::Waiting("WaitingForImage".into());
    let mut off = missing();
    off.builder = BuilderSeen::Off;
    let mut never = missing();
    change(&mut never, |spec| spec.build = None);
    let mut sourceless = missing();
    change(&mut sourceless, |spec| spec.origin = None);
    for o in [off, never, sourceless] {
        assert_eq!((steps(&o), said(&o).0), (vec![], waiting.clone()));
    }
}

#[test]
fn a_builder_that_cannot_run_here_is_waited_for_with_what_it_lacks() {
    let mut o = missing();
    o.builder = BuilderSeen::Unfit(BUILDER.to_owned(), "user namespaces are off".to_owned());
    let (phase, message) = said(&o);
    assert_eq!(phase, Phase::Waiting("BuilderNotReady".into()));
    assert!(message.contains("user namespaces are off"), "{message}");
    o.builder = BuilderSeen::Checking(BUILDER.to_owned());
    assert_eq!(said(&o).0, Phase::Waiting("BuilderNotReady".into()));
}

#[test]
fn while_it_runs_nobody_is_asked_and_its_commit_is_the_commit() {
    let mut o = missing();
    o.builds = vec![job(&o, COMMIT, 1, running())];
    (o.image, o.commit) = (ImageSeen::NotAsked, CommitSeen::NotAsked);
    let decision = decide(&o);
    assert_eq!(decision.steps, []);
    assert_eq!(decision.wait, Wait::After(PROGRESS));
    assert_eq!(
        (decision.report.phase, decision.report.message),
        (
            Phase::Building,
            "2.0.0 is being built from commit 3f9c2a71d0c4: [builder 5/9] RUN mix release (1m 20s)"
                .to_owned()
        )
    );
}

#[test]
fn what_is_pushed_is_looked_up_and_becomes_a_revision_that_says_where_it_was_built() {
    let mut o = missing();
    o.builds = vec![job(&o, COMMIT, 1, BuildState::Pushed(Some(fixtures::digest(2))))];
    o.builds[0].warned = vec!["Dockerfile:1: a base image without a version".to_owned()];
    o.image = ImageSeen::NotAsked;
    assert_eq!(decide(&o).steps, [Step::AskRegistry]);
    o.image = found();
    let draft = decide(&o).steps.into_iter().find_map(|step| match step {
        Step::CreateRevision(draft) => Some(draft),
        _ => None,
    });
    let draft = draft.unwrap();
    assert!(
        draft.obtained.ends_with("-1 of commit 3f9c2a71d0c4"),
        "{}",
        draft.obtained
    );
    assert_eq!(draft.record.warned, o.builds[0].warned);
    // Where the registry has lost it nothing is built again by itself.
    o.image = ImageSeen::Missing;
    assert_eq!(
        (steps(&o), said(&o).0),
        (vec![], Phase::Waiting("WaitingForImage".into()))
    );
    change(&mut o, |spec| spec.attempt = 1);
    assert_eq!(steps(&o), [asked_again(COMMIT, 2)]);
}

#[test]
fn a_tag_that_moves_while_its_build_runs_and_a_server_that_is_silent_after_it_change_nothing() {
    let mut o = missing();
    o.builds = vec![job(&o, COMMIT, 1, BuildState::Pushed(Some(fixtures::digest(2))))];
    let says = |text: &str| {
        Some(Claim {
            text: text.to_owned(),
            by: ClaimedBy::Annotation,
        })
    };
    o.image = ImageSeen::Found {
        digest: fixtures::digest(2),
        platforms: Vec::new(),
        obtained: "registry".to_owned(),
        baked: Vec::new(),
        claims: vec![Claims {
            version: says("2.0.0"),
            revision: says(COMMIT),
            source: says("https://git.example.com/acme/shop.git"),
            built: true,
            ..Claims::default()
        }],
    };
    let silent = CommitSeen::Failed {
        reason: "GitUnreachable".to_owned(),
        message: "no answer".to_owned(),
    };
    for seen in [
        CommitSeen::Known(commit(LATER)),
        silent.clone(),
        CommitSeen::NotAsked,
    ] {
        o.commit = seen;
        let decision = decide(&o);
        let [Step::CreateRevision(draft)] = &decision.steps[..] else {
            panic!("{:?} {:?}", o.commit, decision)
        };
        assert_eq!(draft.record.origin.commit, Some(commit(COMMIT)));
        assert_eq!(
            draft.record.origin.words,
            "version agrees by annotation, revision agrees by annotation"
        );
    }
    // Whoever finds the image that others built asks what it should be, and waits for the answer.
    o.builds.clear();
    o.commit = CommitSeen::Known(commit(LATER));
    assert_eq!(said(&o).0, Phase::Failed("ImageMismatch"));
    o.commit = silent;
    assert_eq!(said(&o).0, Phase::Waiting("GitUnreachable".into()));
}

#[test]
fn what_was_asked_for_again_is_what_is_meant_however_often_the_build_before_was_tried() {
    let mut o = missing();
    change(&mut o, |spec| spec.attempt = 1);
    let before = job(&o, COMMIT, 3, failed(Again::AfterPause, 600));
    let mut now = job(&o, LATER, 1, running());
    now.wanted = Some(1);
    o.builds = vec![before.clone(), now];
    o.commit = CommitSeen::NotAsked;
    let gone = BuildStep::Delete {
        job: before.job,
        uid: before.uid,
        over: before.resource_version,
    };
    assert_eq!(steps(&o), [gone]);
    assert_eq!(said(&o).0, Phase::Building);
}

#[test]
fn what_was_found_in_the_source_of_what_runs_is_told_as_long_as_it_runs() {
    let mut o = missing();
    assert!(told(&o).is_none());
    o.warned = vec!["Dockerfile:1: one".to_owned(), "Dockerfile:2: another".to_owned()];
    let details = decide(&o).report.details;
    let told = (
        "SourceWarned",
        "Dockerfile:1: one; Dockerfile:2: another".to_owned(),
    );
    assert!(details.contains(&told), "{details:?}");
}

fn found() -> ImageSeen {
    ImageSeen::Found {
        digest: fixtures::digest(2),
        platforms: Vec::new(),
        obtained: "registry".to_owned(),
        baked: Vec::new(),
        claims: Vec::new(),
    }
}

#[test]
fn a_compile_error_is_not_tried_again_until_attempt_is_raised_or_something_else_is_declared() {
    let mut o = missing();
    o.builds = vec![job(&o, COMMIT, 1, failed(Again::No, 3600))];
    o.commit = CommitSeen::NotAsked;
    let (phase, message) = said(&o);
    assert_eq!(phase, Phase::Failed("BuildFailed"));
    assert_eq!(
        message,
        "2.0.0 could not be built from commit 3f9c2a71d0c4: the step failed"
    );
    assert_eq!(steps(&o), []);
    assert!(
        decide(&o)
            .report
            .details
            .contains(&("BuildLog", "the end of it".to_owned()))
    );
    let mut again = o.clone();
    change(&mut again, |spec| spec.attempt = 1);
    // The tag may have been moved to what mends it: it is asked for.
    assert!(decide(&again).steps.contains(&Step::AskCommit));
    again.commit = CommitSeen::Known(commit(COMMIT));
    assert_eq!(steps(&again), [asked_again(COMMIT, 2)]);
    again.commit = CommitSeen::Known(commit(LATER));
    assert!(steps(&again).contains(&create(LATER, 1, false)));
    change(&mut o, |spec| {
        let build = spec.build.as_mut().unwrap();
        build.args.insert("A".to_owned(), "1".to_owned());
    });
    o.commit = CommitSeen::Known(commit(COMMIT));
    assert!(steps(&o).contains(&create(COMMIT, 1, false)));
}

#[test]
fn what_was_no_fault_of_its_own_is_tried_three_times_with_pauses_and_too_little_memory_once() {
    let mut o = missing();
    for (run, again, over_for, expected) in [
        (1, Again::AfterPause, 19, None),
        (1, Again::AfterPause, 20, Some(create(COMMIT, 2, false))),
        (2, Again::AfterPause, 39, None),
        (2, Again::AfterPause, 40, Some(create(COMMIT, 3, false))),
        (3, Again::AfterPause, 3600, None),
        (1, Again::WithMoreMemory, 20, Some(create(COMMIT, 2, true))),
    ] {
        o.builds = vec![job(&o, COMMIT, run, failed(again, over_for))];
        assert_eq!(steps(&o), Vec::from_iter(expected), "{run} {again:?} {over_for}");
    }
    let mut larger = job(&o, COMMIT, 2, failed(Again::WithMoreMemory, 3600));
    larger.larger = true;
    o.builds = vec![larger];
    assert_eq!((steps(&o), said(&o).0), (vec![], Phase::Failed("BuildFailed")));
}

#[test]
fn how_a_build_failed_is_noted_on_its_job_once() {
    let mut o = missing();
    o.builds = vec![job(&o, COMMIT, 1, failed(Again::No, 5))];
    assert_eq!(steps(&o), []);
    o.builds[0].booked = false;
    let book = BuildStep::Book {
        job: o.builds[0].job.clone(),
        uid: o.builds[0].uid.clone(),
        over: "7".to_owned(),
        sentence: "the step failed".to_owned(),
        tail: "the end of it".to_owned(),
        again: Again::No,
    };
    assert_eq!(steps(&o), [book]);
    // Of a build that nobody waits for any more nothing is noted: it goes.
    change(&mut o, |spec| spec.build = None);
    assert!(matches!(steps(&o)[..], [BuildStep::Delete { .. }]));
}

#[test]
fn more_time_is_asked_for_by_declaring_it() {
    let mut o = missing();
    o.builds = vec![job(&o, COMMIT, 1, failed(Again::WithMoreTime, 600))];
    assert_eq!((steps(&o), said(&o).0), (vec![], Phase::Failed("BuildFailed")));
    change(&mut o, |spec| {
        spec.build.as_mut().unwrap().timeout = Span::from_secs(3600);
    });
    assert_eq!(steps(&o), [asked_again(COMMIT, 2)]);
}

#[test]
fn a_build_that_was_begun_is_known_whatever_is_known_of_the_builder_by_now() {
    let mut o = missing();
    o.builds = vec![job(&o, COMMIT, 1, BuildState::Pushed(Some(fixtures::digest(2))))];
    o.image = found();
    for builder in [
        BuilderSeen::Checking(BUILDER.to_owned()),
        BuilderSeen::Unfit(BUILDER.to_owned(), "it could not be tried".to_owned()),
    ] {
        o.builder = builder;
        let decision = decide(&o);
        let [Step::CreateRevision(draft)] = &decision.steps[..] else {
            panic!("{decision:?}")
        };
        assert!(
            draft.obtained.ends_with("-1 of commit 3f9c2a71d0c4"),
            "{}",
            draft.obtained
        );
    }
    // What may not be pushed any more is ended.
    o.image = ImageSeen::Missing;
    o.builds[0].state = running();
    o.builder = BuilderSeen::Refused("not there".to_owned());
    assert!(matches!(steps(&o)[..], [BuildStep::Delete { .. }]));
    assert_eq!(said(&o).0, Phase::Waiting("BuildRefused".into()));
}

#[test]
fn what_the_same_key_made_for_another_release_is_not_built_again_where_it_is_always_built() {
    let mut o = missing();
    change(&mut o, |spec| spec.build.as_mut().unwrap().always = true);
    let key = job(&o, COMMIT, 1, running()).key;
    let says = |text: &str| {
        Some(Claim {
            text: text.to_owned(),
            by: ClaimedBy::Annotation,
        })
    };
    let mut image = |key: &str| {
        o.image = ImageSeen::Found {
            digest: fixtures::digest(2),
            platforms: Vec::new(),
            obtained: "registry".to_owned(),
            baked: Vec::new(),
            claims: vec![Claims {
                revision: says(COMMIT),
                built: true,
                key: Some(key.to_owned()),
                ..Claims::default()
            }],
        };
        let decision = decide(&o);
        (decision.steps, decision.report)
    };
    let (steps, report) = image(&key);
    assert!(matches!(steps[..], [Step::CreateRevision(_)]), "{report:?}");
    let (steps, report) = image("0123456789abcdef");
    assert_eq!(steps, [Step::Build(create(COMMIT, 1, false))], "{report:?}");
}

#[test]
fn what_other_arguments_made_of_the_same_commit_is_not_the_image_that_is_meant() {
    let mut o = missing();
    let reference = declared_of(&o).image.reference();
    let recipe = |o: &Observed| Wanted::of(&declared_of(o), &reference).unwrap().recipe();
    let staging = recipe(&o);
    o.image = ImageSeen::Found {
        digest: fixtures::digest(2),
        platforms: Vec::new(),
        obtained: "registry".to_owned(),
        baked: Vec::new(),
        claims: vec![Claims {
            built: true,
            key: Some("0".repeat(16)),
            recipe: Some(staging.clone()),
            ..Claims::default()
        }],
    };
    assert!(
        matches!(decide(&o).steps[..], [Step::CreateRevision(_)]),
        "the same"
    );
    let other = |with: &dyn Fn(&mut Declared)| {
        let mut o = o.clone();
        change(&mut o, with);
        o
    };
    let url = ("NEXT_PUBLIC_API".to_owned(), "https://api.example.com".to_owned());
    let production = other(&|spec| spec.build.as_mut().unwrap().args = [url.clone()].into());
    let (phase, message) = said(&production);
    assert_eq!(phase, Phase::Failed("ImageMismatch"), "{message}");
    assert!(message.contains("with other arguments"), "{message}");
    let warned = other(&|spec| {
        spec.build.as_mut().unwrap().args = [url.clone()].into();
        spec.agree.revision = Some(Agree::Warn);
    });
    assert!(matches!(decide(&warned).steps[..], [Step::CreateRevision(_)]));
    // Who builds nothing says nothing of how it is made.
    let waits = other(&|spec| spec.build = None);
    assert!(matches!(decide(&waits).steps[..], [Step::CreateRevision(_)]));
}

#[test]
fn who_asks_again_gets_as_many_tries_as_before() {
    let mut o = missing();
    change(&mut o, |spec| spec.attempt = 1);
    let third = job(&o, COMMIT, 3, failed(Again::AfterPause, 600));
    o.builds = vec![third];
    assert_eq!(steps(&o), [asked_again(COMMIT, 4)]);
    let mut fourth = job(&o, COMMIT, 4, failed(Again::AfterPause, 600));
    (fourth.wanted, fourth.tries) = (Some(1), 1);
    o.builds.push(fourth);
    let next = BuildStep::Create {
        commit: commit(COMMIT),
        run: 5,
        tries: 2,
        larger: false,
    };
    assert_eq!(steps(&o), [next]);
    let last = o.builds.last_mut().unwrap();
    (last.run, last.tries) = (6, 3);
    let (phase, message) = said(&o);
    assert_eq!(phase, Phase::Failed("BuildFailed"));
    assert!(message.contains("(3 times)"), "{message}");
}

#[test]
fn two_releases_of_one_key_share_a_build_and_the_last_one_to_leave_ends_it() {
    let mut o = missing();
    let mut others = job(&o, COMMIT, 1, running());
    (others.wanted, others.others) = (None, 1);
    o.builds = vec![others.clone()];
    assert!(
        matches!(steps(&o).as_slice(), [BuildStep::Join { .. }]),
        "{:?}",
        steps(&o)
    );
    // Another version is declared meanwhile.
    others.wanted = Some(0);
    o.builds = vec![others.clone()];
    change(&mut o, |spec| spec.version = "2.0.1".parse().unwrap());
    assert!(
        steps(&o)
            .iter()
            .any(|step| matches!(step, BuildStep::Leave { .. }))
    );
    others.others = 0;
    o.builds = vec![others];
    assert!(
        steps(&o)
            .iter()
            .any(|step| matches!(step, BuildStep::Delete { .. }))
    );
}

#[test]
fn what_others_began_again_of_the_same_key_is_joined_and_not_begun_beside_it() {
    let mut o = missing();
    let own = job(&o, COMMIT, 1, failed(Again::AfterPause, 60));
    let mut others = job(&o, COMMIT, 2, running());
    (others.wanted, others.others) = (None, 1);
    o.builds = vec![own, others.clone()];
    o.commit = CommitSeen::NotAsked;
    let join = BuildStep::Join {
        job: others.job,
        uid: others.uid,
        over: others.resource_version,
    };
    assert_eq!(steps(&o), [join]);
}

#[test]
fn a_build_goes_when_its_image_is_on_record_or_its_release_is_removed_and_stays_while_nobody_knows_what_is_meant()
 {
    let mut o = missing();
    let own = job(&o, COMMIT, 1, BuildState::Pushed(Some(fixtures::digest(2))));
    o.builds = vec![own];
    let is_ended = |o: &Observed| {
        steps(o)
            .iter()
            .any(|step| matches!(step, BuildStep::Delete { .. }))
    };
    assert!(!is_ended(&o));
    let mut pinned = o.clone();
    pinned.pin = Some(fixtures::pinned(fixtures::digest(2)));
    assert!(is_ended(&pinned));
    for (declaration, ends) in [
        (Declaration::Removing, true),
        (Declaration::NoVersion, true),
        (Declaration::Edited, false),
        (Declaration::Invalid(vec!["no".to_owned()]), false),
    ] {
        o.declaration = declaration;
        assert_eq!(is_ended(&o), ends, "{:?}", o.declaration);
    }
}

#[test]
fn where_it_is_always_built_an_image_of_somebody_else_is_not_used() {
    let mut o = missing();
    change(&mut o, |spec| spec.build.as_mut().unwrap().always = true);
    o.image = found();
    assert_eq!(steps(&o), [create(COMMIT, 1, false)]);
    o.builds = vec![job(&o, COMMIT, 1, BuildState::Pushed(Some(fixtures::digest(2))))];
    assert!(
        decide(&o)
            .steps
            .iter()
            .any(|step| matches!(step, Step::CreateRevision(_)))
    );
    o.builds = vec![job(&o, COMMIT, 1, BuildState::Pushed(Some(fixtures::digest(3))))];
    let (phase, message) = said(&o);
    assert_eq!(phase, Phase::Failed("ImageMismatch"), "{message}");
}
