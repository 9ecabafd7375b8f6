//! Whether an image is the one that is meant: what it says of its version and of the commit that it was made from, against what
//! is declared.
//!
//! Annotations of a manifest say it of this image alone. Labels are inherited from the image that it was built on
//! (<https://github.com/moby/buildkit/blob/master/docs/annotations.md>), so one that differs is believed only where others
//! show that they are this image's own. What says nothing is not wrong.

use std::time::Duration;

use super::{
    decide::POLL,
    decision::{Decision, Phase, Step, Wait},
    keep::meanwhile,
    observed::{Claim, ClaimedBy, Claims, CommitSeen, Declaration, Doubts, Observed, Origin},
};
use crate::{
    api::release::Agree,
    build::key::Wanted,
    names::CommitId,
    repository::GitUrl,
    spec::{Declared, declared},
};

/// How long until the registry is asked again whether there is another image.
const AGAIN: Duration = Duration::from_secs(300);
/// How long until a server is asked that others were asking.
const SOON: Duration = Duration::from_secs(2);
/// The words of an image that says nothing, where nothing is declared either.
pub const NOTHING: &str = "version unlabelled, revision not compared";
/// Of an image that the same commit made otherwise.
const OTHERWISE: &str = "it was built from another path, by another Dockerfile or stage, or with other arguments than `source` and `build` \
                         say, so give images that differ in that a repository or tags of their own";
/// The shortest beginning of a commit's id that names one.
const SHORT: usize = 7;

/// What is known of where an image comes from, or why it is not run, or not yet. An image that was built for this release is of
/// the commit that it was built from, whatever has become of the reference since: nobody is asked.
pub(super) fn origin(
    o: &Observed,
    declared: &Declared,
    claims: &[Claims],
    built_from: Option<&CommitId>,
) -> Result<Origin, Box<Decision>> {
    let own;
    let seen = if let Some(commit) = built_from {
        own = CommitSeen::Known(commit.clone());
        &own
    } else {
        if needs_commit(declared, claims)
            && let Err(decision) = commit(o, declared)
        {
            let said_nothing = matches!(o.commit, CommitSeen::Failed { .. });
            if !said_nothing || mode(declared.agree.revision, is_built(claims)) == Agree::Enforce {
                return Err(decision);
            }
        }
        &o.commit
    };
    let doubts = doubts(declared, claims, seen);
    if let Some(decision) = refused(o, declared, &doubts) {
        return Err(Box::new(decision));
    }
    Ok(Origin {
        commit: match seen {
            CommitSeen::Known(commit) => Some(commit.clone()),
            _ => None,
        },
        words: words(declared, claims, seen),
        doubts,
        made_of: claims
            .first()
            .map(|claims| claims.made_of.clone())
            .unwrap_or_default(),
    })
}

/// Refuses an image for what it says of itself, where `match` says so now; what runs is kept.
pub(super) fn refused(o: &Observed, declared: &Declared, doubts: &Doubts) -> Option<Decision> {
    let refused = taken(Some(declared), doubts, Agree::Enforce);
    if refused.is_empty() {
        return None;
    }
    let message = format!(
        "{} is not the image that is meant, and nothing is changed: {}. Push the right one under another version, or let \
         `match` only warn",
        declared.image.reference(),
        refused.join("; ")
    );
    let decision = meanwhile(o, declared).saying(Phase::Failed("ImageMismatch"), message);
    Some(decision.after(AGAIN))
}

/// The commit that `source` names, or what goes on until it is known.
pub(super) fn commit(o: &Observed, declared: &Declared) -> Result<CommitId, Box<Decision>> {
    Err(Box::new(match &o.commit {
        CommitSeen::Known(commit) => return Ok(commit.clone()),
        CommitSeen::NotAsked => {
            let message = format!("asking which commit {} is", place(declared));
            let mut decision = meanwhile(o, declared).saying(Phase::Resolving, message);
            decision.steps.push(Step::AskCommit);
            decision.wait = Wait::Again;
            decision
        }
        CommitSeen::Busy => {
            let message = format!("asking which commit {} is, after others", place(declared));
            meanwhile(o, declared)
                .saying(Phase::Resolving, message)
                .after(SOON)
        }
        CommitSeen::Failed { reason, message } => {
            // A whole sentence, which names what was asked for.
            let decision = meanwhile(o, declared).saying(Phase::Waiting(reason.clone()), message.clone());
            decision.after(POLL)
        }
    }))
}

/// What is told as long as an image runs that says something else than what was declared.
pub(super) fn told(o: &Observed) -> Option<(&'static str, String)> {
    let declared = match &o.declaration {
        Declaration::Valid(declared) => Some(declared.as_ref()),
        _ => None,
    };
    let told = |mode| taken(declared, &o.doubted, mode);
    let (warned, enforced) = (told(Agree::Warn), told(Agree::Enforce));
    let then = if enforced.is_empty() {
        "with `match` set to enforce, no change is rolled out with such an image"
    } else {
        "as `match` enforces that, what runs is left alone and no change is rolled out with it"
    };
    let all = [enforced, warned].concat();
    (!all.is_empty()).then(|| {
        let sentence = format!(
            "the image that runs may not be the one that is meant: {}; {then}",
            all.join("; ")
        );
        ("ImageMismatch", sentence)
    })
}

/// `tag v1.8.2 of https://…`
fn place(declared: &Declared) -> String {
    declared.origin.as_ref().map_or_else(String::new, |origin| {
        format!("{} of {}", origin.reference, origin.git)
    })
}

/// What came of comparing one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// The image says what is declared.
    Agrees(ClaimedBy),
    /// It says nothing.
    Unlabelled,
    /// A label says something else, and may be that of the image that this one was built on.
    Unbelieved(String),
    /// It says something else.
    Differs(String),
    /// There is nothing to compare with.
    NotCompared,
}

/// What an image is, as far as it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rungs {
    /// Of its version.
    version: Word,
    /// Of its commit.
    revision: Word,
}

/// Whether the commit that `source` names has to be known to judge these.
fn needs_commit(declared: &Declared, claims: &[Claims]) -> bool {
    let says = |claims: &Claims| claims.revision.is_some() || claims.source.is_some();
    declared.origin.is_some()
        && (mode(declared.agree.revision, false) != Agree::Ignore
            || mode(declared.agree.version, false) != Agree::Ignore)
        && claims.iter().any(says)
}

/// One image against what is declared.
fn compare(declared: &Declared, claims: &Claims, commit: &CommitSeen) -> Rungs {
    let of_source = declared
        .origin
        .as_ref()
        .map(|origin| (origin, same_repository(origin, claims)));
    let revision = match (&of_source, commit) {
        (Some((origin, place)), CommitSeen::Known(commit)) => revision(origin, *place, claims, commit),
        _ => Word::NotCompared,
    };
    let own = matches!(revision, Word::Agrees(_)) && matches!(of_source, Some((_, Some(true))));
    let version = match &claims.version {
        None => Word::Unlabelled,
        Some(claim) if same_version(&claim.text, declared.version.as_str()) => Word::Agrees(claim.by),
        Some(claim) if claim.by == ClaimedBy::Label && !own => {
            Word::Unbelieved(format!("a label says version {}", claim.text))
        }
        Some(claim) => Word::Differs(format!("it says that it is version {}", claim.text)),
    };
    Rungs { version, revision }
}

/// `place`: whether the image says that it is of the declared repository.
fn revision(origin: &declared::Origin, place: Option<bool>, claims: &Claims, commit: &CommitId) -> Word {
    let elsewhere = claims
        .source
        .as_ref()
        .filter(|claim| claim.by == ClaimedBy::Annotation && place == Some(false));
    if let Some(claim) = elsewhere {
        return Word::Differs(format!("it says that it was built from {}", claim.text));
    }
    match &claims.revision {
        None => Word::Unlabelled,
        Some(claim) if same_commit(&claim.text, commit) => Word::Agrees(claim.by),
        Some(claim) if claim.by == ClaimedBy::Label && place != Some(true) => {
            Word::Unbelieved(format!("a label says commit {}", claim.text))
        }
        Some(claim) => Word::Differs(format!(
            "it says that it was built from commit {}, and {} is {}",
            shown(claim),
            origin.reference,
            commit.short()
        )),
    }
}

fn shown(claim: &Claim) -> String {
    claim.text.chars().take(12).collect()
}

/// `1.8.2` and `v1.8.2` are one version.
fn same_version(said: &str, declared: &str) -> bool {
    let plain = |text: &str| text.strip_prefix('v').unwrap_or(text).to_owned();
    plain(said) == plain(declared)
}

fn same_commit(said: &str, commit: &CommitId) -> bool {
    said.len() >= SHORT && commit.as_str().starts_with(&said.to_ascii_lowercase())
}

/// Whether an image says that it is of the declared repository; `None` where it says nothing.
fn same_repository(origin: &declared::Origin, claims: &Claims) -> Option<bool> {
    let said = &claims.source.as_ref()?.text;
    let said = GitUrl::parse(said, true).map_or_else(|_| said.clone(), |url| url.place());
    Some(said == origin.git.place())
}

/// How a difference is taken; `own` images are those that Slipway built.
fn mode(declared: Option<Agree>, own: bool) -> Agree {
    declared.unwrap_or(if own { Agree::Enforce } else { Agree::Warn })
}

/// Whether Slipway built an image, as it says itself.
fn is_built(claims: &[Claims]) -> bool {
    claims.iter().any(|claims| claims.built)
}

/// What differs that is taken this way now.
fn taken(declared: Option<&Declared>, doubts: &Doubts, how: Agree) -> Vec<String> {
    let agree = declared.map(|declared| &declared.agree);
    let of_version = (&doubts.version, agree.and_then(|agree| agree.version));
    let of_revision = (&doubts.revision, agree.and_then(|agree| agree.revision));
    [of_version, of_revision]
        .into_iter()
        .filter(|(_, declared)| mode(*declared, doubts.built) == how)
        .flat_map(|(words, _)| words.iter().cloned())
        .collect()
}

/// What of the images of an index, or of the one that there is, is not as declared.
fn doubts(declared: &Declared, claims: &[Claims], commit: &CommitSeen) -> Doubts {
    let mut found = Doubts {
        built: is_built(claims),
        ..Doubts::default()
    };
    let reference = declared.image.reference();
    let recipe = Wanted::of(declared, &reference).map(|wanted| wanted.recipe());
    for claims in claims {
        if let (Some(said), Some(meant)) = (&claims.recipe, &recipe)
            && said != meant
            && !found.revision.iter().any(|words| words == OTHERWISE)
        {
            found.revision.push(OTHERWISE.to_owned());
        }
        let rungs = compare(declared, claims, commit);
        let lists = [&mut found.version, &mut found.revision];
        for (word, list) in [rungs.version, rungs.revision].into_iter().zip(lists) {
            if let Word::Differs(words) = word
                && !list.contains(&words)
            {
                list.push(words);
            }
        }
    }
    found
}

/// In words for the revision: `version agrees by annotation, revision unlabelled`.
fn words(declared: &Declared, claims: &[Claims], commit: &CommitSeen) -> String {
    let word = |word: &Word| match word {
        Word::Agrees(ClaimedBy::Annotation) => "agrees by annotation".to_owned(),
        Word::Agrees(ClaimedBy::Label) => "agrees by label".to_owned(),
        Word::Unlabelled => "unlabelled".to_owned(),
        Word::Unbelieved(words) => format!("unlabelled ({words}, which may be of its base image)"),
        Word::Differs(words) => format!("differs ({words})"),
        Word::NotCompared => "not compared".to_owned(),
    };
    let mut all: Vec<String> = Vec::new();
    for claims in claims {
        let rungs = compare(declared, claims, commit);
        let words = format!(
            "version {}, revision {}",
            word(&rungs.version),
            word(&rungs.revision)
        );
        if !all.contains(&words) {
            all.push(words);
        }
    }
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::fixtures, repository::RefName, spec::declared::OriginRef};

    const COMMIT: &str = "3f9c2a71d0c4b5e6f708192a3b4c5d6e7f809102";
    const REPOSITORY: &str = "https://git.example.com/acme/shop.git";

    fn spec(agree: (Option<Agree>, Option<Agree>)) -> Declared {
        let mut spec = fixtures::declared(2);
        spec.version = "1.8.2".parse().unwrap();
        spec.agree.version = agree.0;
        spec.agree.revision = agree.1;
        spec.origin = Some(declared::Origin {
            git: GitUrl::parse(REPOSITORY, false).unwrap(),
            reference: OriginRef::Tag(RefName::tag("v1.8.2").unwrap()),
            path: ".".to_owned(),
            secret: None,
        });
        spec
    }

    fn known() -> CommitSeen {
        CommitSeen::Known(COMMIT.parse().unwrap())
    }

    /// `version`, `revision` and `source`, each with `=` as an annotation and with `~` as a label.
    fn says(words: &[&str]) -> Claims {
        let mut claims = Claims::default();
        for word in words {
            let (by, at) = match word.find(['=', '~']) {
                Some(at) if word[at..].starts_with('=') => (ClaimedBy::Annotation, at),
                Some(at) => (ClaimedBy::Label, at),
                None => panic!("{word}"),
            };
            let claim = Some(Claim {
                text: word[at + 1..].to_owned(),
                by,
            });
            match &word[..at] {
                "version" => claims.version = claim,
                "revision" => claims.revision = claim,
                "source" => claims.source = claim,
                other => panic!("{other}"),
            }
        }
        claims
    }

    fn rungs(words: &[&str]) -> (Word, Word) {
        let rungs = compare(&spec((None, None)), &says(words), &known());
        (rungs.version, rungs.revision)
    }

    #[test]
    fn what_an_annotation_says_counts_and_a_leading_v_does_not() {
        let by = |version: &str| rungs(&[&format!("version={version}")]).0;
        assert_eq!(by("1.8.2"), Word::Agrees(ClaimedBy::Annotation));
        assert_eq!(by("v1.8.2"), Word::Agrees(ClaimedBy::Annotation));
        assert_eq!(
            by("1.8.3"),
            Word::Differs("it says that it is version 1.8.3".into())
        );
        assert_eq!(rungs(&[]), (Word::Unlabelled, Word::Unlabelled));
    }

    #[test]
    fn a_label_that_may_be_inherited_is_no_mismatch() {
        let (version, revision) = rungs(&[
            "version~24.04",
            "revision~0000000000000000000000000000000000000000",
        ]);
        assert!(matches!(version, Word::Unbelieved(_)), "{version:?}");
        assert!(matches!(revision, Word::Unbelieved(_)), "{revision:?}");
        let other = "source~https://git.example.com/acme/base";
        let (version, revision) = rungs(&["version~24.04", "revision~0000000", other]);
        assert!(matches!(version, Word::Unbelieved(_)), "{version:?}");
        assert!(matches!(revision, Word::Unbelieved(_)), "{revision:?}");
    }

    #[test]
    fn a_label_is_believed_where_source_and_revision_are_this_images_own() {
        let own = format!("revision~{COMMIT}");
        let same = "source~git@git.example.com:acme/shop";
        let (version, revision) = rungs(&["version~1.8.1", &own, same]);
        assert_eq!(version, Word::Differs("it says that it is version 1.8.1".into()));
        assert_eq!(revision, Word::Agrees(ClaimedBy::Label));
        let (version, revision) = rungs(&["version~1.8.1", "revision~1111111", same]);
        assert!(matches!(version, Word::Unbelieved(_)), "{version:?}");
        assert!(matches!(revision, Word::Differs(_)), "{revision:?}");
        // By chance no label has this commit.
        assert_eq!(rungs(&[&own]).1, Word::Agrees(ClaimedBy::Label));
    }

    #[test]
    fn a_commit_may_be_said_by_its_beginning_and_another_repository_is_another_image() {
        assert_eq!(
            rungs(&["revision=3f9c2a7"]).1,
            Word::Agrees(ClaimedBy::Annotation)
        );
        assert!(matches!(rungs(&["revision=3f9c"]).1, Word::Differs(_)));
        let (_, revision) = rungs(&[
            &format!("revision={COMMIT}"),
            "source=https://git.example.com/acme/other",
        ]);
        assert_eq!(
            revision,
            Word::Differs("it says that it was built from https://git.example.com/acme/other".into())
        );
    }

    #[test]
    fn what_is_enforced_is_refused_what_is_not_is_told_and_own_builds_are_enforced() {
        let found = |agree, claims: &Claims| {
            let spec = spec((agree, None));
            let doubts = doubts(&spec, std::slice::from_ref(claims), &known());
            [Agree::Warn, Agree::Enforce].map(|how| taken(Some(&spec), &doubts, how).len())
        };
        let wrong = says(&["version=1.8.3"]);
        assert_eq!(found(None, &wrong), [1, 0]);
        assert_eq!(found(Some(Agree::Warn), &wrong), [1, 0]);
        assert_eq!(found(Some(Agree::Enforce), &wrong), [0, 1]);
        assert_eq!(found(Some(Agree::Ignore), &wrong), [0, 0]);
        let built = Claims { built: true, ..wrong };
        assert_eq!(found(None, &built), [0, 1]);
        assert_eq!(found(Some(Agree::Warn), &built), [1, 0]);
        assert_eq!(found(Some(Agree::Enforce), &says(&[])), [0, 0], "unlabelled");
    }

    #[test]
    fn the_commit_is_asked_for_only_where_something_is_compared_with_it() {
        let spoken = [says(&["revision=3f9c2a7"])];
        assert!(needs_commit(&spec((None, None)), &spoken));
        assert!(!needs_commit(&spec((None, None)), &[says(&["version=1"])]));
        assert!(!needs_commit(
            &spec((Some(Agree::Ignore), Some(Agree::Ignore))),
            &spoken
        ));
        let mut without = spec((None, None));
        without.origin = None;
        assert!(!needs_commit(&without, &spoken));
    }
}
