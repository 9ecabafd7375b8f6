//! The schema: which code may run on it.

use super::{
    event::{Sight, Write},
    object::{Body, Release},
    verdict::{Invariant, Judge, Limit, Moment, Predicate},
    world::World,
};
use crate::plan::ledger::Entry;

/// **Schema**: once a migration with `migrate.compatible: false` has succeeded, no Deployment is turned to a revision whose image
/// was first seen in an earlier one. Reads Deployments, revisions and the ledger as Slipway read it. One instance per Deployment
/// that Slipway turns to another revision while the ledger has such a migration.
#[derive(Clone, Default)]
pub struct NoEarlierCode;

impl Predicate for NoEarlierCode {
    fn invariant(&self) -> Invariant {
        Invariant::Schema
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning, Sight::Reads]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some(Write { object, .. }) = moment.our_write() else {
            return;
        };
        let (Body::Deployment(deployment), Some(release)) = (&object.body, object.of()) else {
            return;
        };
        let Some(number) = deployment.revision else { return };
        let before = moment.world.get(&object.key).map(|known| &known.object.body);
        if matches!(before, Some(Body::Deployment(before)) if before.revision == Some(number)) {
            return;
        }
        let bars: Vec<&Entry> = barriers(moment.world, &release).collect();
        if bars.is_empty() {
            return;
        }
        judge.judged();
        let Some((digest, first)) = first_seen(moment.world, &release, number) else {
            return;
        };
        let bar = bars
            .into_iter()
            .find(|entry| entry.revision > first && entry.digest != digest);
        if bar.is_some() && moment.world.numbered_twice.contains(&release) {
            // The numbers tell no longer what was first.
            judge.beyond(Limit::NumberedTwice);
        } else if let Some(entry) = bar {
            let needs = entry.needs.as_deref().unwrap_or("?");
            judge.broken(
                format!(
                    "{} of {release} was turned to v{number}, whose image was there in v{first}, although v{} had migrated \
                     so that only {needs} and later ones can run",
                    object.key, entry.revision
                ),
                [moment.index],
            );
        }
    }
}

/// The migrations that keep earlier code away from the database that the newest revision names.
fn barriers<'a>(world: &'a World, release: &'a Release) -> impl Iterator<Item = &'a Entry> {
    let newest = world
        .revisions
        .get(release)
        .and_then(|revisions| revisions.values().next_back()?.last());
    let named = newest
        .and_then(|revision| revision.migration.as_ref())
        .map(|(_, database, _)| &**database);
    let entries = world.ledger(release).into_iter();
    entries
        .flat_map(|ledger| ledger.entries.values())
        .filter(|entry| entry.state.is_done() && entry.needs.is_some())
        .filter(move |entry| match (entry.database.as_deref(), named) {
            // Where none was named, or it is not known which, it may be the same.
            (Some(of_entry), Some(named)) if !of_entry.is_empty() && named.contains(':') => of_entry == named,
            _ => true,
        })
}

/// The image of a revision, and the first one that had it, as far as revisions that are kept and the ledger tell.
fn first_seen<'a>(world: &'a World, release: &Release, number: u64) -> Option<(&'a str, u64)> {
    let digest: &str = &world.revision(release, number)?.digest;
    let kept = world.there.values().filter_map(|known| match &known.object.body {
        Body::Revision(revision) if known.object.of().as_ref() == Some(release) => Some(revision),
        _ => None,
    });
    let kept = kept
        .filter(|revision| *revision.digest == *digest)
        .map(|revision| revision.number);
    let entries = world
        .ledger(release)
        .into_iter()
        .flat_map(|ledger| ledger.entries.values());
    let migrated = entries
        .filter(|entry| entry.digest == digest)
        .map(|entry| entry.revision);
    Some((digest, kept.chain(migrated).min()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::ledger::EntryState,
        trace::fixtures::{Story, digest},
    };

    /// The first version runs, and the second has migrated and keeps it away.
    fn barred() -> Story {
        let mut story = Story::new();
        story.revision_of(1, "img:1", &digest(1), Some("a"));
        story.runs("a", "j1").finish("a", "j1", true);
        story.book("a", "j1", EntryState::Succeeded).deploy(1);
        story.revision_of(2, "img:2", &digest(2), Some("b"));
        story.runs("b", "j2").finish("b", "j2", true);
        story.book("b", "j2", EntryState::Succeeded).bars("b", 2);
        story
    }

    #[test]
    fn schema_code_from_before_is_not_brought_back() {
        let mut story = barred();
        story.deploy(1);
        story.holds(Invariant::Schema, 0);
        story.deploy(2);
        let mut next = story.clone();
        story.deploy(1);
        story.breaks(Invariant::Schema);
        next.revision_of(3, "img:3", &digest(3), Some("b")).deploy(3);
        next.holds(Invariant::Schema, 2);
        // Another revision with the image of before.
        next.revision_of(4, "img:1", &digest(1), Some("a")).deploy(4);
        next.breaks(Invariant::Schema);
    }
}
