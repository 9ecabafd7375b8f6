//! Which releases may be removed because git declares them no longer. Pure: sets in, sentence out.
//!
//! A removal cannot be taken back, and most of what looks like one is an accident: a moved directory, a bad
//! merge, half a repository. So it happens only for a commit without any problem, never for the first commit
//! of a source or the first after its origin changed, and never for more releases at once than was allowed;
//! else nothing goes and the sentence says why.

use std::{collections::BTreeSet, fmt, str::FromStr};

#[cfg(test)]
use super::mutant::{self, Mutant};
use crate::names::{CommitId, ReleaseId};

/// How many releases one commit may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDeletions {
    /// At most so many, and never all.
    Count(u64),
    /// Of the releases that exist, rounded down, but at least one; all of them only with 100.
    Percent(u64),
}

impl Default for MaxDeletions {
    fn default() -> Self {
        Self::Percent(30)
    }
}

impl FromStr for MaxDeletions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("maxDeletions {text:?} is not a number or a percentage up to 100%");
        let digits = text.strip_suffix('%').unwrap_or(text);
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|c| c.is_ascii_digit()) {
            return Err(error());
        }
        let number: u64 = digits.parse().map_err(|_| error())?;
        match text.ends_with('%') {
            true if number > 100 => Err(error()),
            true => Ok(Self::Percent(number)),
            false => Ok(Self::Count(number)),
        }
    }
}

impl fmt::Display for MaxDeletions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(number) => write!(f, "{number}"),
            Self::Percent(number) => write!(f, "{number}%"),
        }
    }
}

impl MaxDeletions {
    fn allows(self, removed: usize, existing: usize) -> bool {
        let (removed, existing) = (removed as u64, existing as u64);
        if removed == existing && self != Self::Percent(100) {
            return false;
        }
        match self {
            Self::Count(number) => removed <= number,
            Self::Percent(number) => removed <= (existing * number / 100).max(1),
        }
    }
}

/// How a commit relates to what its source applied before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The first commit of the source, or the first since its url, branch or paths changed, however often it is read.
    Baseline,
    /// It follows on such a commit.
    Continued,
}

impl Standing {
    /// The standing of a commit under this baseline.
    #[must_use]
    pub fn of(baseline: Option<&CommitId>, commit: &CommitId) -> Self {
        if baseline == Some(commit) {
            Self::Baseline
        } else {
            Self::Continued
        }
    }
}

/// The baseline of a source: the commit at which its origin was new. `before` is what the last pass noted: the origin
/// that it read from, and its baseline.
#[must_use]
pub fn baseline(
    before: Option<(&str, Option<&CommitId>)>,
    origin: &str,
    commit: &CommitId,
) -> Option<CommitId> {
    match before {
        Some((known, baseline)) if known == origin => baseline.cloned(),
        _ => Some(commit.clone()),
    }
}

/// What is known about the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneFacts {
    /// `prune` of the source.
    pub enabled: bool,
    /// How the commit relates to what the source applied before.
    pub standing: Standing,
    /// Every document of every directory was read, merged and accepted: not a single problem.
    pub clean: bool,
    /// How many may go.
    pub max_deletions: MaxDeletions,
}

/// What is to be removed, and what is not and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prune {
    /// These go now; all or none of what vanished.
    pub remove: Vec<ReleaseId>,
    /// Their file is still there but gives no version any more: kept as they are, never removed.
    pub version_removed: Vec<ReleaseId>,
    /// Why nothing goes although something vanished.
    pub held: Option<String>,
}

/// Compares the releases that exist for a source with what its commit declares.
///
/// `existing` are releases, and our objects found by label, of this source. `declared` have a version.
/// `without_version` are those of which the commit still has the file that gave the version before. Of `begun` the
/// removal was allowed once: they count for no further one.
#[must_use]
pub fn plan_prune(
    existing: &BTreeSet<ReleaseId>,
    declared: &BTreeSet<ReleaseId>,
    without_version: &BTreeSet<ReleaseId>,
    begun: &BTreeSet<ReleaseId>,
    facts: PruneFacts,
) -> Prune {
    let vanished = || existing.difference(declared);
    let version_removed = vanished()
        .filter(|id| without_version.contains(*id))
        .cloned()
        .collect();
    let gone: Vec<ReleaseId> = vanished()
        .filter(|id| !without_version.contains(*id))
        .cloned()
        .collect();
    if gone.is_empty() {
        return Prune {
            version_removed,
            ..Prune::default()
        };
    }
    let doubt = reason_to_doubt(&gone, facts);
    #[cfg(test)]
    let doubt = doubt.filter(|_| !mutant::is(Mutant::RemovedInDoubt));
    let (half, whole): (Vec<_>, Vec<_>) = gone.into_iter().partition(|id| begun.contains(id));
    let others = existing.len() - half.len();
    let held = doubt.clone().or_else(|| too_many(&whole, others, facts));
    let mut remove = if doubt.is_none() { half } else { Vec::new() };
    if held.is_none() {
        remove.extend(whole);
        remove.sort();
    }
    Prune {
        remove,
        version_removed,
        held,
    }
}

/// Why what vanished may not have been meant to.
fn reason_to_doubt(gone: &[ReleaseId], facts: PruneFacts) -> Option<String> {
    let PruneFacts {
        enabled,
        standing,
        clean,
        ..
    } = facts;
    let what = listed(gone);
    if !enabled {
        return Some(format!(
            "{what} is not declared any more and is kept: the source says prune: false"
        ));
    }
    if !clean {
        return Some(format!(
            "{what} is not declared any more and is kept until the commit has no problem"
        ));
    }
    if standing == Standing::Baseline {
        return Some(format!(
            "{what} is not declared and is kept: this is the first commit since the source, or its url, branch or \
             paths, were new; the next commit to its paths removes it"
        ));
    }
    None
}

/// Why so many do not go in one commit.
fn too_many(gone: &[ReleaseId], existing: usize, facts: PruneFacts) -> Option<String> {
    let max_deletions = facts.max_deletions;
    if gone.is_empty() || max_deletions.allows(gone.len(), existing) {
        return None;
    }
    #[cfg(test)]
    if mutant::is(Mutant::RemovedWithoutLimit) {
        return None;
    }
    let what = listed(gone);
    let (number, all) = (gone.len(), gone.len() == existing);
    let count = if all {
        format!("all {existing}")
    } else {
        format!("{number} of {existing}")
    };
    let how = if all {
        "say maxDeletions: 100%"
    } else {
        "raise maxDeletions"
    };
    Some(format!(
        "{count} releases are not declared any more ({what}) and are kept, at most {max_deletions} may go in one \
         commit: {how} if this is meant"
    ))
}

/// The first few, for a sentence.
fn listed(ids: &[ReleaseId]) -> String {
    let shown: Vec<String> = ids.iter().take(3).map(ToString::to_string).collect();
    match ids.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FACTS: PruneFacts = PruneFacts {
        enabled: true,
        standing: Standing::Continued,
        clean: true,
        max_deletions: MaxDeletions::Percent(30),
    };

    fn ids(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<ReleaseId> {
        numbers
            .into_iter()
            .map(|n| ReleaseId {
                namespace: "apps".parse().unwrap(),
                name: format!("r{n:03}").parse().unwrap(),
            })
            .collect()
    }

    fn plan(existing: usize, declared: std::ops::Range<usize>, facts: PruneFacts) -> Prune {
        let none = BTreeSet::new();
        plan_prune(&ids(0..existing), &ids(declared), &none, &none, facts)
    }

    #[test]
    fn what_vanished_from_a_clean_commit_goes() {
        let prune = plan(10, 1..10, FACTS);
        assert_eq!(prune.remove, Vec::from_iter(ids(0..1)));
        assert_eq!(prune.held, None);
    }

    #[test]
    fn nothing_goes_when_nothing_vanished_and_nothing_is_said() {
        assert_eq!(plan(3, 0..5, FACTS), Prune::default());
    }

    #[test]
    fn any_doubt_keeps_everything_and_says_why() {
        for facts in [
            PruneFacts {
                enabled: false,
                ..FACTS
            },
            PruneFacts {
                standing: Standing::Baseline,
                ..FACTS
            },
            PruneFacts {
                clean: false,
                ..FACTS
            },
        ] {
            let prune = plan(10, 1..10, facts);
            assert!(
                prune.remove.is_empty() && prune.held.unwrap().contains("apps/r000"),
                "{facts:?}"
            );
        }
    }

    #[test]
    fn more_than_allowed_go_not_at_all() {
        assert_eq!(plan(10, 3..10, FACTS).remove.len(), 3);
        let prune = plan(10, 4..10, FACTS);
        assert!(prune.remove.is_empty());
        assert!(prune.held.unwrap().starts_with("4 of 10 releases"));
        let count = |n| PruneFacts {
            max_deletions: MaxDeletions::Count(n),
            ..FACTS
        };
        assert_eq!(plan(10, 4..10, count(4)).remove.len(), 4);
        assert!(plan(10, 4..10, count(3)).held.is_some());
        assert!(plan(10, 1..10, count(0)).held.is_some());
    }

    #[test]
    fn one_may_always_go_unless_it_is_the_last() {
        assert_eq!(plan(2, 1..2, FACTS).remove.len(), 1);
        assert!(plan(1, 1..1, FACTS).held.unwrap().contains("100%"));
    }

    #[test]
    fn all_go_only_with_a_hundred_percent() {
        let with = |max_deletions| {
            plan(
                4,
                0..0,
                PruneFacts {
                    max_deletions,
                    ..FACTS
                },
            )
            .remove
            .len()
        };
        assert_eq!(with(MaxDeletions::Percent(99)), 0);
        assert_eq!(with(MaxDeletions::Count(1000)), 0);
        assert_eq!(with(MaxDeletions::Percent(100)), 4);
    }

    #[test]
    fn a_removal_that_has_begun_goes_on_and_counts_for_no_other() {
        let plan =
            |declared, facts| plan_prune(&ids(0..10), &ids(declared), &BTreeSet::new(), &ids(0..3), facts);
        assert_eq!(plan(5..10, FACTS).remove.len(), 5);
        let more = plan(8..10, FACTS);
        assert_eq!(more.remove, Vec::from_iter(ids(0..3)));
        assert!(more.held.unwrap().starts_with("5 of 7 releases"));
        let bad = PruneFacts {
            clean: false,
            ..FACTS
        };
        assert!(plan(5..10, bad).remove.is_empty());
    }

    #[test]
    fn a_release_whose_file_lost_its_version_is_never_removed() {
        let facts = PruneFacts {
            max_deletions: MaxDeletions::Percent(100),
            ..FACTS
        };
        let prune = plan_prune(&ids(0..4), &ids(0..2), &ids(2..3), &ids(2..3), facts);
        assert_eq!(prune.version_removed, Vec::from_iter(ids(2..3)));
        assert_eq!(prune.remove, Vec::from_iter(ids(3..4)));
    }

    #[test]
    fn a_baseline_stays_through_every_pass_over_its_commit_and_falls_with_the_next_commit() {
        let [a, b]: [CommitId; 2] = ["a", "b"].map(|c| c.repeat(40).parse().unwrap());
        let mut noted: Option<(&str, Option<CommitId>)> = None;
        let mut pass = |origin: &'static str, commit: &CommitId| {
            let before = noted
                .as_ref()
                .map(|(origin, baseline)| (*origin, baseline.as_ref()));
            let baseline = baseline(before, origin, commit);
            let standing = Standing::of(baseline.as_ref(), commit);
            noted = Some((origin, baseline));
            standing
        };
        let seen = [
            ("x", &a),
            ("x", &a),
            ("x", &b),
            ("y", &b),
            ("y", &b),
            ("y", &a),
            ("y", &a),
        ];
        let (held, goes) = (Standing::Baseline, Standing::Continued);
        assert_eq!(
            seen.map(|(origin, commit)| pass(origin, commit)),
            [held, held, goes, held, held, goes, goes]
        );
    }

    #[test]
    fn limits_are_read_as_written_in_the_source() {
        assert_eq!("30%".parse(), Ok(MaxDeletions::Percent(30)));
        assert_eq!("5".parse(), Ok(MaxDeletions::Count(5)));
        for bad in ["", "%", "101%", "-1", "1.5", "5 %", "1000000", "+5"] {
            assert!(bad.parse::<MaxDeletions>().is_err(), "{bad:?}");
        }
    }

    fn standings() -> impl Strategy<Value = Standing> {
        prop_oneof![Just(Standing::Baseline), Just(Standing::Continued)]
    }

    proptest! {
        #[test]
        fn only_what_exists_and_is_not_declared_is_ever_removed(
            existing in proptest::collection::btree_set(0_usize..40, 0..40),
            declared in proptest::collection::btree_set(0_usize..40, 0..40),
            without in proptest::collection::btree_set(0_usize..40, 0..40),
            clean: bool, standing in standings(), percent in 0_u64..=100,
        ) {
            let (existing, declared, without) = (ids(existing), ids(declared), ids(without));
            let max_deletions = MaxDeletions::Percent(percent);
            let facts = PruneFacts { enabled: true, standing, clean, max_deletions };
            let prune = plan_prune(&existing, &declared, &without, &ids([]), facts);
            for id in &prune.remove {
                prop_assert!(existing.contains(id) && !declared.contains(id) && !without.contains(id));
            }
            prop_assert!(prune.remove.is_empty() || (clean && standing == Standing::Continued));
            prop_assert!(prune.remove.is_empty() || prune.held.is_none());
            prop_assert!(prune.remove.len() < existing.len().max(1) || percent == 100);
        }
    }
}
