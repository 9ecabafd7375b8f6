//! Whether a `Release` may be moved from one commit to another: what is in the cluster may be newer than what was read.

/// How a commit that the cluster names relates to the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is the one that was read, or an ancestor.
    Known,
    /// It descends from the one that was read: another controller has read more.
    Newer,
    /// It is in the mirror, and neither.
    Aside,
    /// The mirror does not hold it.
    Missing,
}

/// What a pass may do about a `Release` that it would write or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Write it where it differs.
    Write,
    /// Write it though its spec may be the same: its commit is of a history that is not followed any more.
    Renew,
    /// Nothing: it is newer.
    Wait,
    /// Nothing: it may be newer.
    Hold,
}

/// Whether a `Release` may be moved to what was read. `fixed` says that its commit and the one that was read are of one
/// branch that is only ever added to.
#[must_use]
pub fn may(relation: Relation, fixed: bool) -> May {
    match (relation, fixed) {
        (Relation::Known, _) | (Relation::Newer, false) => May::Write,
        (Relation::Aside | Relation::Missing, false) => May::Renew,
        (Relation::Newer, true) => May::Wait,
        (Relation::Aside | Relation::Missing, true) => May::Hold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn along_a_branch_nothing_that_may_be_newer_is_moved_and_a_branch_that_was_left_binds_nobody() {
        use Relation::{Aside, Known, Missing, Newer};
        for (relation, along, left) in [
            (Known, May::Write, May::Write),
            (Newer, May::Wait, May::Write),
            (Aside, May::Hold, May::Renew),
            (Missing, May::Hold, May::Renew),
        ] {
            assert_eq!((may(relation, true), may(relation, false)), (along, left));
        }
    }
}
