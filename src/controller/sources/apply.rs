//! What was read of a commit → the `Release` objects: what differs is written, what git removed is removed.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::time::Instant;

use super::{Context, SWEEP, SourceError, fetch::Reading, leftovers, remove, status::Outcome, write};
use crate::{
    api::{ReleaseSource, source::SourceProblem},
    controller::{compile::Compiled, span},
    names::CommitId,
    plan::{
        lineage::May,
        prune::{self, Standing},
    },
    words::count,
};

/// What was read last, if it is what the source says that it applied: a source that was deleted and made again under
/// the same name has applied nothing yet, and what its namesake had read is not in force.
pub fn in_force(source: &ReleaseSource, context: &Context) -> Option<Arc<Compiled>> {
    let status = source.status.as_ref()?;
    context
        .remembered(&source.name_any())
        .filter(|read| status.applied_commit.as_deref() == Some(read.commit.as_str()))
}

/// What was read last stays in force against hand edits and deletions; `false` where it is not known any more.
pub async fn enforce(source: &ReleaseSource, context: &Context) -> Result<bool, SourceError> {
    let Some(compiled) = in_force(source, context) else {
        return Ok(false);
    };
    span::commit(Some(&compiled.commit));
    write::write_releases(source, context, &compiled, &mut Vec::new(), &mut false).await?;
    Ok(true)
}

/// Brings the `Release` objects to what was read.
pub async fn apply(
    source: &ReleaseSource,
    context: &Context,
    Reading {
        compiled,
        commit,
        origin,
    }: Reading,
) -> Result<Outcome, SourceError> {
    span::commit(Some(&commit));
    let mut problems: Vec<SourceProblem> = compiled.problems.clone();
    let name = source.name_any();
    let mut unfinished = false;
    let (listed, lineage) =
        write::write_releases(source, context, &compiled, &mut problems, &mut unfinished).await?;
    context.lead()?;
    let mut existing = write::of_source(&name, &listed);
    let declared = compiled.declared();
    // What this commit may not know of is not removed for not being in it.
    existing.retain(|id, _| match lineage.get(id) {
        Some(May::Hold) if !declared.contains(id) => {
            let message = write::held(id, listed.get(id), &commit);
            let place = String::new();
            problems.push(SourceProblem { place, message });
            false
        }
        Some(May::Wait) => declared.contains(id),
        _ => true,
    });
    let due = context.memory(&name, |memory| memory.swept.is_none_or(|at| at.elapsed() > SWEEP));
    if due {
        existing
            .extend(leftovers::left_over(source, context, &compiled, |id| listed.contains_key(id)).await?);
    }
    let status = source.status.as_ref();
    let noted = status.and_then(|status| status.baseline_commit.as_deref()?.parse().ok());
    let before = status
        .filter(|status| status.applied_commit.is_some())
        .and_then(|status| Some((status.applied_origin.as_deref()?, noted.as_ref())));
    let baseline = prune::baseline(before, &origin, &commit);
    let standing = Standing::of(baseline.as_ref(), &commit);
    let removal = remove::removal(source, context, &compiled, &existing, standing).await?;
    if due {
        // What is held or not at its end is looked for again.
        let done = removal.said.is_empty() && !removal.unfinished;
        let swept = done.then(Instant::now);
        context.memory(&name, |memory| memory.swept = swept);
    }
    for id in removal.version_removed {
        let Some((release, found)) = listed.get(&id).zip(existing.get(&id)) else {
            continue;
        };
        problems.push(write::version_removed(&id, &found.file));
        // A document without a version was written above.
        if !compiled.releases.contains_key(&id) {
            context.lead()?;
            if let Err(error) = write::take_version(context, &id, release).await {
                problems.push(SourceProblem {
                    place: found.file.clone(),
                    message: error.sentence(),
                });
            }
        }
    }
    problems.extend(removal.said.into_iter().map(|message| SourceProblem {
        place: String::new(),
        message,
    }));
    Ok(Outcome {
        fetched: Some(commit.clone()),
        releases: compiled.releases.len(),
        ready: problems.is_empty(),
        // What goes on by itself, such as a removal that waits for a migration, needs nobody.
        passing: unfinished || removal.unfinished,
        reason: if problems.is_empty() {
            "Applied".into()
        } else {
            "Problems".into()
        },
        message: sentence(&commit, compiled.releases.len(), &problems),
        applied: Some(commit),
        origin: Some(origin),
        baseline,
        unfinished: unfinished || removal.unfinished,
        problems,
    })
}

fn sentence(commit: &CommitId, releases: usize, problems: &[SourceProblem]) -> String {
    let commit = commit.short();
    let Some(first) = problems.first() else {
        return format!("commit {commit} is applied: {}", count(releases, "release"));
    };
    let first = format!("{} {}", first.place, first.message);
    format!(
        "commit {commit} is applied but for {}; the first: {}",
        count(problems.len(), "problem"),
        first.trim()
    )
}
