//! What of a source's releases is to be removed, since git removed it, and what is held instead; the steps of a removal are in
//! [`going`].

use std::collections::BTreeMap;

use super::{super::compile::Compiled, Context, SourceError};
use crate::{
    api::ReleaseSource,
    cluster::error::ClusterError,
    names::ReleaseId,
    plan::prune::{MaxDeletions, PruneFacts, Standing, plan_prune},
};

mod going;

/// A release of the source as it was found in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// The file that gave its version.
    pub file: String,
    /// The UID and resourceVersion of the `Release`; `None` where only objects of it are left.
    pub seen: Option<(String, String)>,
    /// Whether its removal has begun.
    pub marked: bool,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Removal {
    /// What is not, or not yet, removed, and why.
    pub said: Vec<String>,
    /// Releases whose file is still there and gives them no version any more: they are kept.
    pub version_removed: Vec<ReleaseId>,
    /// Whether the next pass should come soon.
    pub unfinished: bool,
}

/// Removes the releases of a source that its commit no longer declares, if every rule allows it.
pub async fn removal(
    source: &ReleaseSource,
    context: &Context,
    compiled: &Compiled,
    existing: &BTreeMap<ReleaseId, Existing>,
    standing: Standing,
) -> Result<Removal, SourceError> {
    let mut removal = Removal::default();
    let max_deletions = match source
        .spec
        .max_deletions
        .as_deref()
        .map(str::parse::<MaxDeletions>)
    {
        None => MaxDeletions::default(),
        Some(Ok(max)) => max,
        Some(Err(problem)) => {
            removal.said.push(problem);
            return Ok(removal);
        }
    };
    let facts = PruneFacts {
        enabled: source.spec.prune != Some(false),
        standing,
        clean: compiled.clean,
        max_deletions,
    };
    let begun = existing.iter().filter(|(_, found)| found.marked);
    let files = existing.iter().map(|(id, found)| (id, found.file.as_str()));
    let plan = plan_prune(
        &existing.keys().cloned().collect(),
        &compiled.declared(),
        &compiled.without_version(files),
        &begun.clone().map(|(id, _)| id.clone()).collect(),
        facts,
    );
    removal.said.extend(plan.held);
    removal.version_removed = plan.version_removed;
    for (id, _) in begun.filter(|(id, _)| !plan.remove.contains(*id)) {
        context.lead()?;
        // It stays after all, so it is served again.
        let cleared = going::unmark(context, id).await;
        removal.note(id, cleared.map(|_| true));
    }
    let going = plan.remove.iter();
    let going = going.filter_map(|id| Some((id, existing.get(id)?))).collect();
    going::remove(context, going, &mut removal).await?;
    Ok(removal)
}

impl Removal {
    /// Whether a step was done; what failed for one release is said and does not keep the others.
    fn note(&mut self, id: &ReleaseId, done: Result<bool, ClusterError>) -> bool {
        let done = done.unwrap_or_else(|error| {
            self.said
                .push(format!("the removal of {id}: {}", error.sentence()));
            false
        });
        self.unfinished |= !done;
        done
    }
}
