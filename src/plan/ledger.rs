//! The ledger: what became of every migration of a release, all that is believed about migrations.
//!
//! It lives in the ConfigMap `<release>-ledger`: per migration key one JSON entry. It is written by
//! compare-and-swap only, never dropped, and it is the record whose absence is never taken as "not run".

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::observed::Revision;
use crate::{
    hex::hex,
    names::{Digest, ReleaseId, Uid},
};

/// Hash of everything that makes a migration the same migration. 64 hex digits; a ConfigMap key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationKey(String);

/// What a migration key is made of. It depends on no key that could be lost.
#[derive(Debug, Clone, Copy)]
pub struct KeyParts<'a> {
    /// The release; two releases on one database still migrate each for themselves.
    pub release: &'a ReleaseId,
    /// The image.
    pub digest: &'a Digest,
    /// Replaces ENTRYPOINT.
    pub command: Option<&'a [String]>,
    /// Replaces CMD.
    pub args: Option<&'a [String]>,
    /// `host:port/name`, or empty where the database is not known.
    pub database: &'a str,
    /// The counter of deliberate repetitions.
    pub rerun: u32,
}

impl MigrationKey {
    /// The key of these parts. Each part is written with its length, so that no two lists of parts collide.
    #[must_use]
    pub fn of(parts: &KeyParts<'_>) -> Self {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        part("slipway migration 1");
        part(&parts.release.to_string());
        part(parts.digest.as_str());
        for words in [parts.command, parts.args] {
            match words {
                None => part("absent"),
                Some(words) => {
                    part(&format!("{} words", words.len()));
                    for word in words {
                        part(word);
                    }
                }
            }
        }
        part(parts.database);
        part(&parts.rerun.to_string());
        Self(hex(&hash.finalize()))
    }

    /// The key of a stored text; nothing is checked beyond its form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 8 digits: part of the Job's name.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for MigrationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EntryState {
    /// A Job has the right to run; only its UID is ever resumed.
    Claimed,
    /// It ran, and the evidence was seen.
    Succeeded,
    /// It ran and ended with an error.
    Failed,
    /// It may have run, in part or whole. Never retried by itself.
    Unknown,
    /// It never ran: its Job was taken back before it was let run. Another one may be made.
    Withdrawn,
    /// Its outcome was unknown, and a commit declared it done.
    Accepted,
}

impl EntryState {
    /// Whether what it does stands in the database: booked by its evidence, or said by a commit.
    #[must_use]
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Accepted)
    }
}

/// One migration of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// How far it is.
    pub state: EntryState,
    /// The Job's name.
    pub job: String,
    /// How many seconds its container may run, as the spec said when it was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// The Job's UID: the claim.
    pub uid: Uid,
    /// Which Job of this key it is, from 1.
    pub run: u32,
    /// The `attempt` of the spec under which it ran; a failed one runs again only under a higher one.
    pub attempt: u64,
    /// Which run under that attempt it is, from 1; `migrate.retries` allows more of them.
    #[serde(default)]
    pub tries: u32,
    /// The revision.
    pub revision: u64,
    /// The image.
    pub digest: String,
    /// The lock that its Job needs.
    pub lock: String,
    /// The database that it was made for, empty where none is named; absent in entries of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// A text that must be in its log, from `migrate.proof` at the time of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The oldest version that can run on the schema that it leaves, where `migrate.compatible: false` says that none from
    /// before can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// Whether the release named another database at a time when it may have run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
    /// Whether the ledger was gone while it ran: what was noted of its start is lost, and with it the proof of its outcome.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// The generation of its Job when that was taken back after it had been let run, and before any container started: a
    /// higher one means that somebody resumed it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// When this entry was last written.
    pub at: Timestamp,
    /// Where the container was first seen running: a reboot between then and the end shows in the boot id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Started>,
    /// The exit code, where one was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// One sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Entry {
    /// What a revision's migration is for, and nothing of what became of it.
    #[must_use]
    pub fn of(state: EntryState, revision: &Revision, at: Timestamp) -> Self {
        Self::blank(state, revision.number.0, revision.digest.to_string(), at)
    }

    /// An outcome of which nothing else is known.
    pub(crate) fn blank(state: EntryState, revision: u64, digest: String, at: Timestamp) -> Self {
        Self {
            state,
            job: String::new(),
            timeout: None,
            uid: Uid::none(),
            run: 0,
            attempt: 0,
            tries: 0,
            revision,
            digest,
            lock: String::new(),
            database: None,
            proof: None,
            needs: None,
            moved: false,
            lost: false,
            generation: None,
            at,
            started: None,
            exit_code: None,
            note: String::new(),
        }
    }
}

/// Where a container was first seen running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The node.
    pub node: String,
    /// The node's boot id at that time.
    pub boot_id: String,
}

/// The whole ledger of one release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Per key its entry.
    pub entries: BTreeMap<MigrationKey, Entry>,
    /// Those of them that are kept in short form: key, state, revision and image.
    pub short: BTreeSet<MigrationKey>,
}

/// Under which name of the `ConfigMap`'s data short forms stand, one on each line: key, state, revision and image. The image
/// tells which code was there before a migration that no earlier code can live with.
const SHORT: &str = "compacted";
/// How many migrations that are done keep their whole entry. A `ConfigMap` holds 1 MiB: about 1,500 whole entries, and
/// 7,000 short ones.
const WHOLE: usize = 64;
/// How digests begin; short forms leave it out.
const SHA256: &str = "sha256:";
/// So many more are waited for, so that a compaction is not a part of each migration.
const BATCH: usize = 32;

/// The ledger holds something that is not an entry; nothing is decided on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ledger's entry {key} cannot be read: {message}")]
pub struct LedgerUnreadable {
    key: String,
    message: String,
}

impl Ledger {
    /// Reads the data of the ConfigMap.
    ///
    /// # Errors
    /// Any entry that cannot be read: a migration is never decided on half a record.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, LedgerUnreadable> {
        let unreadable = |key: &str, message: String| LedgerUnreadable {
            key: key.to_owned(),
            message,
        };
        let mut ledger = Self::default();
        for line in data.get(SHORT).into_iter().flat_map(|text| text.lines()) {
            let (key, entry) = short_form(line)
                .ok_or_else(|| unreadable(SHORT, "a line is not key, state, revision and image".into()))?;
            ledger.short.insert(key.clone());
            ledger.entries.insert(key, entry);
        }
        for (key, text) in data.iter().filter(|(key, _)| *key != SHORT) {
            let parsed = MigrationKey::parse(key).ok_or_else(|| unreadable(key, "not a key".into()))?;
            let entry = serde_json::from_str(text).map_err(|e| unreadable(key, e.to_string()))?;
            ledger.short.remove(&parsed);
            ledger.entries.insert(parsed, entry);
        }
        Ok(ledger)
    }

    /// The data of the ConfigMap.
    #[must_use]
    pub fn to_data(&self) -> BTreeMap<String, String> {
        let whole = self.entries.iter().filter(|(key, _)| !self.short.contains(key));
        let mut data: BTreeMap<String, String> = whole
            .map(|(key, entry)| (key.0.clone(), serde_json::to_string(entry).unwrap_or_default()))
            .collect();
        if !self.short.is_empty() {
            data.insert(SHORT.to_owned(), self.short_text());
        }
        data
    }

    fn short_text(&self) -> String {
        let lines = self.short.iter().filter_map(|key| {
            let entry = self.entries.get(key)?;
            let state = match entry.state {
                EntryState::Accepted => "accepted",
                _ => "succeeded",
            };
            let digest = match entry.digest.strip_prefix(SHA256) {
                Some(digits) => format!(" {digits}"),
                None => String::new(),
            };
            Some(format!("{} {state} {}{digest}\n", key.as_str(), entry.revision))
        });
        lines.collect()
    }

    /// What is to be changed in the data of the ConfigMap, so that it never grows full: the oldest migrations that are
    /// done go into the short form. None is ever dropped. `None` while there are few.
    #[must_use]
    pub fn compaction(&self) -> Option<BTreeMap<String, Option<String>>> {
        let mut done: Vec<(u64, &MigrationKey)> = self
            .entries
            .iter()
            .filter(|(key, entry)| {
                // Those that keep earlier code away say so in their whole entry, and are few.
                entry.state.is_done() && entry.needs.is_none() && !self.short.contains(key)
            })
            .map(|(key, entry)| (entry.revision, key))
            .collect();
        if done.len() < WHOLE + BATCH {
            return None;
        }
        done.sort_unstable();
        let old: Vec<MigrationKey> = done
            .iter()
            .take(done.len() - WHOLE)
            .map(|(_, key)| (*key).clone())
            .collect();
        let mut after = self.clone();
        after.short.extend(old.iter().cloned());
        let mut change: BTreeMap<String, Option<String>> = old.into_iter().map(|key| (key.0, None)).collect();
        change.insert(SHORT.to_owned(), Some(after.short_text()));
        Some(change)
    }

    /// The entry of a key.
    #[must_use]
    pub fn get(&self, key: &MigrationKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The migration that has a claim and no outcome; at most one per release (S1).
    #[must_use]
    pub fn claimed(&self) -> Option<(&MigrationKey, &Entry)> {
        self.entries
            .iter()
            .find(|(_, entry)| entry.state == EntryState::Claimed)
    }
}

/// `<key> <state> <revision> <digits of the digest>`, the last where it is known.
fn short_form(line: &str) -> Option<(MigrationKey, Entry)> {
    let mut words = line.split(' ');
    let key = MigrationKey::parse(words.next()?)?;
    let state = match words.next()? {
        "succeeded" => EntryState::Succeeded,
        "accepted" => EntryState::Accepted,
        _ => return None,
    };
    let revision = words.next()?.parse().ok()?;
    let digest = match words.next() {
        None => String::new(),
        Some(digits) => format!("{SHA256}{digits}").parse::<Digest>().ok()?.to_string(),
    };
    if words.next().is_some() {
        return None;
    }
    let entry = Entry::blank(state, revision, digest, Timestamp::UNIX_EPOCH);
    Some((key, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ReleaseId {
        ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "shop".parse().unwrap(),
        }
    }

    fn digest(c: char) -> Digest {
        format!("sha256:{}", c.to_string().repeat(64)).parse().unwrap()
    }

    #[test]
    fn a_key_changes_with_each_of_its_parts_and_with_nothing_else() {
        let (release, digest_a, digest_b) = (id(), digest('a'), digest('b'));
        let (x, y) = (
            vec!["/bin/migrate".to_owned()],
            vec!["/bin".to_owned(), "migrate".to_owned()],
        );
        let base = KeyParts {
            release: &release,
            digest: &digest_a,
            command: Some(&x),
            args: None,
            database: "db:5432/shop",
            rerun: 0,
        };
        let key = MigrationKey::of(&base);
        assert_eq!(key, MigrationKey::of(&base));
        let others = [
            KeyParts {
                digest: &digest_b,
                ..base
            },
            KeyParts {
                command: Some(&y),
                ..base
            },
            KeyParts {
                command: None,
                args: Some(&x),
                ..base
            },
            KeyParts {
                args: Some(&[]),
                ..base
            },
            KeyParts {
                database: "db:5432/other",
                ..base
            },
            KeyParts { rerun: 1, ..base },
        ];
        for other in others {
            assert_ne!(key, MigrationKey::of(&other), "{other:?}");
        }
    }

    #[test]
    fn a_ledger_survives_its_config_map() {
        let entry = Entry {
            state: EntryState::Succeeded,
            job: "shop-migrate-01234567-1".into(),
            uid: "u1".parse().unwrap(),
            run: 1,
            attempt: 0,
            revision: 3,
            digest: digest('a').to_string(),
            lock: "slipway-lock-x".into(),
            tries: 1,
            database: Some("db".into()),
            proof: None,
            needs: Some("1.2.0".into()),
            moved: true,
            lost: true,
            generation: Some(3),
            timeout: None,
            at: Timestamp::UNIX_EPOCH,
            started: Some(Started {
                node: "node1".into(),
                boot_id: "b".into(),
            }),
            exit_code: Some(0),
            note: String::new(),
        };
        let key = MigrationKey::parse(&"ab".repeat(32)).unwrap();
        let ledger = Ledger {
            entries: [(key, entry)].into(),
            short: BTreeSet::new(),
        };
        assert_eq!(Ledger::parse(&ledger.to_data()).unwrap(), ledger);
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_an_error_and_not_an_empty_ledger() {
        let data = BTreeMap::from([("ab".repeat(32), "{}".to_owned())]);
        assert!(Ledger::parse(&data).is_err());
        let data = BTreeMap::from([("note".to_owned(), "hello".to_owned())]);
        assert!(Ledger::parse(&data).is_err());
    }

    #[test]
    fn old_migrations_that_are_done_are_kept_in_short_form_and_none_is_dropped() {
        let mut ledger = Ledger::default();
        for number in 1..=200_u64 {
            let key = MigrationKey::parse(&format!("{number:064x}")).unwrap();
            let state = match number {
                1 => EntryState::Failed,
                2 => EntryState::Unknown,
                3 => EntryState::Accepted,
                _ => EntryState::Succeeded,
            };
            let (_, entry) = short_form(&format!("{} succeeded {number}", key.as_str())).unwrap();
            let job = format!("job-{number}");
            let digest = digest('c').to_string();
            let needs = (number == 4).then(|| "1.0.0".to_owned());
            let entry = Entry {
                state,
                job,
                digest,
                needs,
                ..entry
            };
            ledger.entries.insert(key, entry);
        }
        let mut data = ledger.to_data();
        for (key, value) in ledger.compaction().unwrap() {
            match value {
                Some(value) => data.insert(key, value),
                None => data.remove(&key),
            };
        }
        assert_eq!(
            data.len(),
            64 + 3 + 1,
            "the newest, those that are not done or keep earlier code away, and the short ones"
        );
        let after = Ledger::parse(&data).unwrap();
        assert_eq!(after.to_data(), data);
        assert_eq!(after.compaction(), None);
        for (key, entry) in &ledger.entries {
            let kept = after.get(key).unwrap();
            assert_eq!(
                (kept.state, kept.revision, &kept.digest),
                (entry.state, entry.revision, &entry.digest)
            );
            assert!(after.short.contains(key) || kept == entry);
        }
    }

    #[test]
    fn a_short_form_that_cannot_be_read_stops_all_decisions() {
        for line in [
            "x succeeded 1",
            &format!("{} maybe 1", "a".repeat(64)),
            &format!("{} succeeded 1 abc", "a".repeat(64)),
            &"a".repeat(64),
        ] {
            let data = [("compacted".to_owned(), line.to_owned())].into();
            assert!(Ledger::parse(&data).is_err(), "{line}");
        }
    }
}
