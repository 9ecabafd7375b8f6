//! The links from git to pods, one line each: source → release → image → references → migration → rollout → serving.

mod migration;

use serde_json::Value;

use super::{
    clean,
    facts::{Facts, SourceSeen},
    short_commit, short_digest, span, status, utc,
};
use crate::{
    api::meta,
    names::RevisionNumber,
    plan::{
        ladder,
        observed::PodSeen,
        rollout::{self, Progress},
    },
};

/// How many lines of a log are shown; the revision keeps more.
const TAIL: usize = 5;

/// How a link is.
#[derive(Clone, Copy)]
enum Mark {
    Well,
    Wrong,
    Moving,
    Nothing,
}

impl Mark {
    fn sign(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Wrong => "!!",
            Self::Moving => "..",
            Self::Nothing => "--",
        }
    }
}

/// One link, and what is to be said below it.
struct Link {
    label: &'static str,
    mark: Mark,
    text: String,
    below: Vec<String>,
}

impl Link {
    fn new(label: &'static str, mark: Mark, text: impl Into<String>) -> Self {
        Self {
            label,
            mark,
            text: text.into(),
            below: Vec::new(),
        }
    }
}

/// The lines of the chain.
pub fn lines(facts: &Facts) -> Vec<String> {
    let links = [
        source(facts),
        release(facts),
        image(facts),
        references(facts),
        migration::link(facts),
        rollout(facts),
        serving(facts),
    ];
    links
        .into_iter()
        .flat_map(|link| {
            let first = format!(
                "{:<11} {}  {}",
                link.label,
                link.mark.sign(),
                clean(&link.text, 1000)
            );
            let below = link
                .below
                .into_iter()
                .map(|line| format!("{:16}{}", "", clean(&line, 500)));
            std::iter::once(first.trim_end().to_owned()).chain(below)
        })
        .collect()
}

fn source(facts: &Facts) -> Link {
    let sources = match &facts.source {
        SourceSeen::ByHand => {
            return Link::new("source", Mark::Nothing, "none: this Release was written by hand");
        }
        SourceSeen::Gone(name) => {
            let text = format!("{name} is gone: what runs stays, and git is not followed");
            return Link::new("source", Mark::Wrong, text);
        }
        SourceSeen::NotKnown(name) => {
            return Link::new(
                "source",
                Mark::Nothing,
                format!("{name}, which could not be read"),
            );
        }
        SourceSeen::Found(source) => std::slice::from_ref(source.as_ref()),
        SourceSeen::Any(sources) => sources.as_slice(),
    };
    if sources.is_empty() {
        return Link::new("source", Mark::Wrong, "there is no ReleaseSource in this cluster");
    }
    let rows: Vec<_> = sources.iter().map(status::source_row).collect();
    let ready = rows.iter().all(|row| row.ready);
    let text: Vec<String> = rows
        .iter()
        .map(|row| {
            let commit = row.commit.as_deref().map_or("no commit", short_commit);
            format!("{} at {commit}: {}", row.source, row.message)
        })
        .collect();
    let mut link = Link::new(
        "source",
        if ready { Mark::Well } else { Mark::Wrong },
        text.join(" | "),
    );
    let problems = sources
        .iter()
        .flat_map(|source| source.status.iter())
        .flat_map(|status| &status.problems);
    link.below = problems
        .take(TAIL)
        .map(|problem| format!("{} {}", problem.place, problem.message).trim().to_owned())
        .collect();
    link
}

fn release(facts: &Facts) -> Link {
    let Some(release) = &facts.release else {
        return Link::new("release", Mark::Wrong, "there is none");
    };
    let row = status::row(release);
    let annotation = |name: &str| {
        let annotations = release.metadata.annotations.as_ref();
        annotations
            .and_then(|annotations| annotations.get(name))
            .map(String::as_str)
    };
    let who = match annotation(meta::COMMIT) {
        None => "written by hand".to_owned(),
        Some(commit) => format!(
            "by {} in {} at {}, {}",
            annotation(meta::AUTHOR).unwrap_or("?"),
            short_commit(commit),
            annotation(meta::COMMITTED_AT).unwrap_or("?"),
            annotation(meta::PATH).unwrap_or("?")
        ),
    };
    let mark = match row.weight {
        status::Weight::Stopped | status::Weight::Waiting => Mark::Wrong,
        status::Weight::Moving => Mark::Moving,
        status::Weight::Noted | status::Weight::Well => Mark::Well,
    };
    let declared = row.declared.as_deref().unwrap_or("no version");
    Link::new("release", mark, format!("{declared} declared, {who}"))
}

fn image(facts: &Facts) -> Link {
    let spec = facts.release.as_ref().map(|release| &release.spec);
    let declared = spec.and_then(|spec| spec.version.as_deref());
    match facts.current() {
        Some(current) if declared.is_none_or(|version| version == current.spec.version) => {
            let image = &current.spec.image;
            let text = format!(
                "{} is {} (by {}), revision v{}: {}",
                image.reference,
                short_digest(&image.digest),
                image.obtained,
                current.spec.number,
                current.spec.cause
            );
            let mark = if image.suspicious.is_empty() && image.differs.is_none() {
                Mark::Well
            } else {
                Mark::Wrong
            };
            let mut link = Link::new("image", mark, text);
            let suspicious = image.suspicious.iter();
            link.below.extend(
                suspicious.map(|words| format!("{words}: change it where it is used, if it is a secret")),
            );
            // Most images say nothing, and nothing is declared that they could be compared with.
            let told = |words: &&String| words.as_str() != ladder::NOTHING;
            let origin = image.origin.iter().filter(told);
            link.below
                .extend(origin.map(|words| format!("where it comes from: {words}")));
            let warned = image.warned.iter();
            link.below
                .extend(warned.map(|words| format!("found in its source: {words}")));
            let size = image.size.iter();
            link.below
                .extend(size.map(|bytes| format!("a node fetches {} KiB of layers for it", bytes >> 10)));
            let base = image.base.iter();
            link.below.extend(base.map(|name| format!("made of {name}")));
            let locks = image.locks.iter();
            link.below
                .extend(locks.map(|files| format!("its dependencies are those of {files}")));
            let harmless = image.harmless.iter();
            link.below.extend(
                harmless.map(|words| format!("{words}: it is expected there, or pods are given another")),
            );
            link
        }
        _ => {
            let image = spec.and_then(|spec| spec.image.as_deref()).unwrap_or("no image");
            let version = declared.unwrap_or("no version");
            let text = format!("{image} for {version} has no revision yet");
            Link::new(
                "image",
                if declared.is_some() {
                    Mark::Moving
                } else {
                    Mark::Nothing
                },
                text,
            )
        }
    }
}

fn references(facts: &Facts) -> Link {
    let message = facts
        .release
        .as_ref()
        .and_then(|release| release.status.as_ref())
        .filter(|status| status.phase == "Waiting(SecretMissing)")
        .map(|status| status.message.clone());
    if facts.missing.is_empty() {
        return match message {
            Some(message) => Link::new("references", Mark::Wrong, message),
            None => Link::new(
                "references",
                Mark::Well,
                "every Secret and ConfigMap that is named exists",
            ),
        };
    }
    let text = format!("{} does not exist", facts.missing.join(" and "));
    Link::new("references", Mark::Wrong, text)
}

fn rollout(facts: &Facts) -> Link {
    if facts.deployments.is_empty() {
        let text = if facts.unread.is_empty() {
            "there is no Deployment yet"
        } else {
            "not known"
        };
        return Link::new("rollout", Mark::Nothing, text);
    }
    let number = shown_revision(facts);
    let of_processes: Vec<PodSeen> = facts.pods.iter().map(|pod| pod.seen.clone()).collect();
    let deployments: Vec<_> = facts.deployments.iter().collect();
    let carried: Vec<String> = facts
        .deployments
        .iter()
        .map(|deployment| {
            let name = deployment.value.pointer("/metadata/name").and_then(Value::as_str);
            let number = revision_of(&deployment.value).map_or_else(|| "?".to_owned(), |n| n.to_string());
            format!("{} of {number}", name.unwrap_or("?"))
        })
        .collect();
    let (mark, text) = match rollout::judge(&deployments, &of_processes, number) {
        Progress::Complete => (Mark::Well, format!("complete: {}", carried.join(", "))),
        Progress::Moving(how) => (Mark::Moving, how),
        Progress::Broken(why) => (Mark::Wrong, why),
    };
    let mut link = Link::new("rollout", mark, text);
    let refusals = facts
        .deployments
        .iter()
        .filter_map(|deployment| rollout::refused(&deployment.value));
    link.below
        .extend(refusals.filter(|refusal| !link.text.contains(refusal)));
    let unready = facts.pods.iter().filter(|pod| !pod.ready && !pod.seen.deleting);
    link.below.extend(unready.take(TAIL).map(|pod| {
        let number = pod
            .seen
            .revision
            .map_or_else(|| "?".to_owned(), |n| n.to_string());
        format!(
            "pod {} of {number} is not ready: {}",
            pod.seen.name,
            why(&pod.seen)
        )
    }));
    link
}

/// The revision that pods are compared with: the one that the Deployments carry, as far as they agree.
fn shown_revision(facts: &Facts) -> RevisionNumber {
    let carried = facts
        .deployments
        .iter()
        .filter_map(|deployment| revision_of(&deployment.value));
    carried.max().unwrap_or(RevisionNumber(0))
}

fn revision_of(deployment: &Value) -> Option<RevisionNumber> {
    let annotations = deployment.pointer("/metadata/annotations")?;
    annotations
        .get(meta::REVISION)?
        .as_str()?
        .parse()
        .ok()
        .map(RevisionNumber)
}

fn why(pod: &PodSeen) -> String {
    if let Some(why) = &pod.unschedulable {
        return format!("it cannot be scheduled: {why}");
    }
    let restarts = match pod.restarts {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        n => format!(", restarted {n} times"),
    };
    if let Some((reason, message)) = &pod.waiting {
        return format!("{reason} {message}").trim().to_owned() + &restarts;
    }
    match &pod.last_end {
        Some((code, reason)) => format!("last ended with exit code {code} ({reason}){restarts}"),
        None => format!("its probe does not pass yet{restarts}"),
    }
}

fn serving(facts: &Facts) -> Link {
    let status = facts.release.as_ref().and_then(|release| release.status.as_ref());
    let live = status.and_then(|status| status.live_version.as_deref());
    let ready: Vec<String> = {
        let mut counts = std::collections::BTreeMap::new();
        for pod in facts.pods.iter().filter(|pod| pod.ready && !pod.seen.deleting) {
            *counts.entry(pod.seen.revision).or_insert(0_usize) += 1;
        }
        let word = |number: Option<RevisionNumber>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        counts
            .into_iter()
            .map(|(number, n)| format!("{n} ready of {}", word(number)))
            .collect()
    };
    let pods = if ready.is_empty() {
        "no pod is ready".to_owned()
    } else {
        ready.join(", ")
    };
    let Some(live) = live else {
        let mark = if ready.is_empty() {
            Mark::Nothing
        } else {
            Mark::Moving
        };
        return Link::new("serving", mark, format!("no version was verified here; {pods}"));
    };
    let since = facts
        .live()
        .and_then(|revision| revision.status.as_ref()?.live_at.as_ref())
        .map_or_else(String::new, |time| {
            format!(", verified {} ago ({})", span(time.0, facts.now), utc(time.0))
        });
    let number = facts
        .live()
        .map_or_else(String::new, |revision| format!(" (v{})", revision.spec.number));
    let mark = if ready.is_empty() { Mark::Wrong } else { Mark::Well };
    Link::new("serving", mark, format!("{live}{number}{since}; {pods}"))
}
