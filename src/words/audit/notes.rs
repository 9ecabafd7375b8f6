//! What is said of an answer as a whole: clocks that cannot be right, and a time that has not come.

use jiff::Timestamp;

use super::Asked;
use crate::{
    names::CommitId,
    words::{span, utc},
};

/// More would hide what they are about.
const MOST: usize = 10;

/// What the clocks of the commits of a branch come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// The commit.
    pub commit: CommitId,
    /// Seconds since 1970, by the committer's clock.
    pub own: i64,
    /// Those that it counts from.
    pub at: i64,
}

impl Clock {
    /// The time that each commit of a branch counts from, newest first.
    ///
    /// A commit was made after the one that it stands on, whatever its clock says: else whoever can push could put a version
    /// into a time that is over. One that is later than now counts from the commit that followed: else nothing that stands on
    /// it would have happened yet.
    #[must_use]
    pub fn count(steps: impl Iterator<Item = (CommitId, i64)>, now: Timestamp) -> Vec<Self> {
        let mut after = now.as_second();
        let mut clocks: Vec<Self> = steps
            .map(|(commit, own)| {
                let at = if own > now.as_second() { after } else { own };
                after = at;
                Self { commit, own, at }
            })
            .collect();
        let mut before = i64::MIN;
        for clock in clocks.iter_mut().rev() {
            clock.at = clock.at.max(before);
            before = clock.at;
        }
        clocks
    }

    fn note(&self) -> String {
        let [own, at] = [self.own, self.at].map(|second| Timestamp::from_second(second).unwrap_or_default());
        let commit = self.commit.short();
        if own > at {
            return format!(
                "the clock of commit {commit} is ahead: it says {}, and counts from {}",
                utc(own),
                utc(at)
            );
        }
        format!(
            "the clock of commit {commit} is behind that of its parent by {}: it says {}, and counts from {}",
            span(own, at),
            utc(own),
            utc(at)
        )
    }
}

/// What clocks that cannot be right change in an answer. `read` says which commits it was made of.
#[must_use]
pub fn clocks(clocks: &[Clock], asked: Asked, read: &dyn Fn(&CommitId) -> bool) -> Vec<String> {
    let (since, until) = asked.ends();
    let is_wrong = |clock: &&Clock| clock.own != clock.at;
    let touches = |clock: &&Clock| {
        let (first, last) = (clock.own.min(clock.at), clock.own.max(clock.at));
        read(&clock.commit) || (first <= until.as_second() && last > since.as_second())
    };
    let mut wrong = clocks.iter().filter(is_wrong).filter(touches);
    let mut notes: Vec<String> = wrong.by_ref().take(MOST).map(Clock::note).collect();
    let more = wrong.count();
    if more > 0 {
        notes.push(format!("so it is with the clocks of {more} older commits"));
    }
    notes
}

/// What is said where the time asked for is not over.
#[must_use]
pub fn not_come(asked: Asked, now: Timestamp) -> Option<String> {
    let (_, until) = asked.ends();
    (until > now).then(|| {
        format!(
            "{} has not come yet: this is what is known at {}",
            utc(until),
            utc(now)
        )
    })
}

/// What is said where nothing was declared because a commit cannot be used.
#[must_use]
pub fn unread(commit: &CommitId, at: Timestamp, why: &str) -> String {
    format!("commit {} of {} cannot be used: {why}", commit.short(), utc(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(n: usize) -> CommitId {
        format!("{n:040x}").parse().unwrap()
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Of clocks from the oldest commit on.
    fn count(clocks: &[i64], now: i64) -> Vec<Clock> {
        let steps = clocks.iter().enumerate().rev();
        Clock::count(steps.map(|(n, own)| (commit(n), *own)), time(now))
    }

    fn counted(clocks: &[i64], now: i64) -> Vec<i64> {
        let mut all: Vec<i64> = count(clocks, now).iter().map(|clock| clock.at).collect();
        all.reverse();
        all
    }

    #[test]
    fn no_commit_counts_from_before_the_one_that_it_stands_on() {
        assert_eq!(counted(&[1, 10, 20, 5, 7, 30], 99), [1, 10, 20, 20, 20, 30]);
    }

    #[test]
    fn a_clock_that_is_ahead_of_now_makes_nothing_later_than_it_was() {
        assert_eq!(counted(&[1, 10, 500, 20, 30], 99), [1, 10, 20, 20, 30]);
        assert_eq!(counted(&[1, 500, 600], 99), [1, 99, 99]);
        assert_eq!(counted(&[1, 500, 5, 30], 99), [1, 5, 5, 30]);
    }

    #[test]
    fn a_wrong_clock_is_told_where_it_touches_the_time_asked_for() {
        let all = count(&[1, 10, 20, 5, 30], 99);
        let told = |asked| clocks(&all, asked, &|_| false);
        let at = |second| told(Asked::At(time(second)));
        assert_eq!(
            at(15),
            [
                "the clock of commit 000000000000 is behind that of its parent by 15s: it says 1970-01-01T00:00:05Z, and counts from 1970-01-01T00:00:20Z"
            ]
        );
        assert!(at(3).is_empty() && at(25).is_empty());
        assert_eq!(told(Asked::Between(time(0), time(50))).len(), 1);
        assert_eq!(clocks(&all, Asked::At(time(25)), &|id| *id == commit(3)).len(), 1);
        let ahead = clocks(&count(&[1, 500, 20], 99), Asked::At(time(50)), &|_| false);
        assert!(ahead[0].contains("is ahead"), "{ahead:?}");
        let many: Vec<i64> = (0..20).rev().collect();
        let told = clocks(&count(&many, 99), Asked::At(time(19)), &|_| true);
        assert_eq!((told.len(), told[10].contains("of 9 older")), (11, true));
    }

    #[test]
    fn a_time_that_has_not_come_is_told() {
        assert_eq!(not_come(Asked::At(time(5)), time(5)), None);
        let told = not_come(Asked::Between(time(0), time(60)), time(5)).unwrap();
        assert_eq!(
            told,
            "1970-01-01T00:01:00Z has not come yet: this is what is known at 1970-01-01T00:00:05Z"
        );
    }
}
