//! What is there after each event: the fold that predicates look into.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    event::{Actor, Event, Fact, What, Write},
    object::{Body, Key, Kind, Object, Release, RevisionBody, Text},
};
use crate::plan::ledger::{Entry, Ledger, MigrationKey};

/// Everything that predicates ask for.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What is there.
    pub there: BTreeMap<Key, Known>,
    /// Per UID who made it, and in which event.
    pub makers: BTreeMap<Text, (Actor, usize)>,
    /// UIDs of what somebody else made and Slipway took over, as a release said.
    pub adopted: BTreeSet<Text>,
    /// Every Job of a migration that ever was, by UID.
    pub jobs: BTreeMap<Text, JobStory>,
    /// Every pod of such a Job that ever was, by UID.
    pub pods: BTreeMap<Text, PodStory>,
    /// Every revision that ever was, by its number: the last of each, and before it those that somebody deleted.
    pub revisions: BTreeMap<Release, BTreeMap<u64, Vec<Arc<RevisionBody>>>>,
    /// The releases of which two revisions that differ had one number, or one was made below another that was there.
    pub numbered_twice: BTreeSet<Release>,
    /// Per lock its holder.
    pub locks: BTreeMap<Text, Option<Text>>,
    /// What people have said in a `Release`, ever.
    pub said: BTreeMap<Release, Said>,
}

/// An object that is there.
#[derive(Debug, Clone)]
pub struct Known {
    /// As it is.
    pub object: Arc<Object>,
    /// The event that last wrote it.
    pub written: usize,
    /// Who did.
    pub by: Actor,
}

/// The story of a Job.
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact that comes by itself, in any order"
)]
pub struct JobStory {
    /// Its release.
    pub release: Release,
    /// Its name.
    pub name: Text,
    /// Its migration.
    pub key: MigrationKey,
    /// Whether it may not run now.
    pub suspended: bool,
    /// The event that let it run first, and whether Slipway did it.
    pub resumed: Option<(usize, bool)>,
    /// Pods that have not ended, as the Job controller counts them.
    pub active: u32,
    /// `Some(true)` is Complete, `Some(false)` Failed.
    pub complete: Option<bool>,
    /// Whether it is no more.
    pub gone: bool,
    /// The event that last changed it.
    pub last: usize,
    /// Its pods, in the order of their making.
    pub pods: Vec<Text>,
    /// Whether its database came and went unseen.
    pub database_returned: bool,
    /// Whether Kubernetes made a second pod of it by itself.
    pub doubled: bool,
}

/// The story of a pod.
#[derive(Debug, Clone, Default)]
pub struct PodStory {
    /// UID of its Job.
    pub job: Text,
    /// The event in which its container was first seen started.
    pub started: Option<usize>,
    /// Its exit code.
    pub exit: Option<i32>,
    /// Whether it has ended or is no more.
    pub over: bool,
    /// The database that it was started on.
    pub database: Option<Text>,
    /// Whether its program did all its work.
    pub whole: Option<bool>,
    /// Whether its node was started anew under it.
    pub reboot: bool,
}

impl Said {
    /// Whether a migration that failed as `old` may be claimed anew as `entry`: under a higher `attempt`, or as one of the
    /// retries that the spec allows.
    #[must_use]
    pub fn allows(&self, old: &Entry, entry: &Entry) -> bool {
        let asked = entry.attempt > old.attempt && entry.attempt <= self.attempt;
        let retried = entry.attempt == old.attempt
            && entry.tries == old.tries.saturating_add(1)
            && old.tries > 0
            && old.tries <= self.retries;
        asked || retried
    }
}

/// What people have said in a `Release`.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// The highest `attempt`.
    pub attempt: u64,
    /// The highest `adopt`.
    pub adopt: u64,
    /// The highest `migrate.retries`.
    pub retries: u32,
    /// Every `migrate.accept`.
    pub accepted: Vec<Text>,
    /// Every commit.
    pub commits: Vec<Text>,
}

impl World {
    /// The object of this key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Known> {
        self.there.get(key)
    }

    /// The ledger of a release.
    #[must_use]
    pub fn ledger(&self, release: &Release) -> Option<&Arc<Ledger>> {
        let key = Key {
            kind: Kind::ConfigMap,
            namespace: release.namespace.clone(),
            name: format!("{}-ledger", release.name).into(),
        };
        match &self.there.get(&key)?.object.body {
            Body::Ledger(ledger) => Some(ledger),
            _ => None,
        }
    }

    /// The ledger's entry of a Job.
    #[must_use]
    pub fn claim_of(&self, release: &Release, uid: &str) -> Option<(&MigrationKey, &Entry)> {
        let mut entries = self.ledger(release)?.entries.iter();
        entries.find(|(_, entry)| entry.uid.as_str() == uid)
    }

    /// A revision.
    #[must_use]
    pub fn revision(&self, release: &Release, number: u64) -> Option<&Arc<RevisionBody>> {
        self.revisions.get(release)?.get(&number)?.last()
    }

    /// The revision of a number that has one of these images. A number is given out again where every revision was deleted,
    /// and a write that was on its way then is still of the one that had it before.
    #[must_use]
    pub fn revision_with(
        &self,
        release: &Release,
        number: u64,
        images: &[Text],
    ) -> Option<&Arc<RevisionBody>> {
        self.revisions_with(release, number, images)
            .next()
            .or_else(|| self.revision(release, number))
    }

    /// Whether this one made the revision that has a number now.
    #[must_use]
    pub fn made(&self, by: &Actor, release: &Release, number: u64) -> bool {
        self.there.values().any(|known| {
            let has = matches!(&known.object.body, Body::Revision(body) if body.number == number);
            let maker = self.makers.get(&known.object.uid);
            has && known.object.of().as_ref() == Some(release) && maker.is_some_and(|(maker, _)| maker == by)
        })
    }

    /// All revisions that ever had a number and have one of these images, the last one first.
    pub fn revisions_with<'a, 'b>(
        &'a self,
        release: &Release,
        number: u64,
        images: &'b [Text],
    ) -> impl Iterator<Item = &'a Arc<RevisionBody>> + use<'a, 'b> {
        let numbers = self.revisions.get(release);
        let of_number = numbers.and_then(|numbers| numbers.get(&number));
        let has = move |revision: &&Arc<RevisionBody>| {
            images.iter().any(|image| image.ends_with(&*revision.digest))
        };
        of_number.into_iter().flatten().rev().filter(has)
    }

    /// The Jobs of a release that may change its database now: let run and not ended, or with a pod that has not ended.
    pub fn live_jobs<'a>(
        &'a self,
        release: &'a Release,
    ) -> impl Iterator<Item = (&'a Text, &'a JobStory)> + 'a {
        self.jobs
            .iter()
            .filter(move |(_, job)| job.release == *release && self.is_live(job))
    }

    /// Whether a Job may change its database now.
    #[must_use]
    pub fn is_live(&self, job: &JobStory) -> bool {
        let runs = !job.gone && job.complete.is_none() && (!job.suspended || job.active > 0);
        runs || job
            .pods
            .iter()
            .any(|pod| self.pods.get(pod).is_some_and(|pod| !pod.over))
    }

    /// Whether a namespace is being taken away, or has been.
    #[must_use]
    pub fn is_ending(&self, namespace: &Text) -> bool {
        let key = Key {
            kind: Kind::Namespace,
            namespace: "".into(),
            name: namespace.clone(),
        };
        self.there.get(&key).is_some_and(|known| known.object.deleting)
    }

    /// Whether a write of Slipway makes an object its own that somebody else made, as the release says by `adopt`.
    #[must_use]
    pub fn adopts(&self, write: &Write) -> bool {
        let object = &write.object;
        let said = object.of().and_then(|release| self.said.get(&release));
        let before = self.get(&object.key);
        !write.created
            && object.ours
            && said.is_some_and(|said| said.adopt > 0)
            && before.is_some_and(|before| before.object.uid == object.uid && !before.object.ours)
    }

    /// One more event.
    pub(super) fn take(&mut self, index: usize, event: &Event) {
        match &event.what {
            What::Wrote(write) => self.wrote(index, event, write),
            What::Gone { key, uid } => self.gone(key, uid),
            What::Fact(fact) => self.fact(fact),
            What::Deleted { .. } | What::Refused(_) => {}
        }
    }

    fn wrote(&mut self, index: usize, event: &Event, write: &Write) {
        let object = &write.object;
        if let Some(before) = self.there.get(&object.key)
            && before.object.uid != object.uid
        {
            let (key, uid) = (before.object.key.clone(), before.object.uid.clone());
            self.gone(&key, &uid);
        }
        if event.by.is_slipway() && self.adopts(write) {
            self.adopted.insert(object.uid.clone());
        }
        if write.created {
            self.makers.insert(object.uid.clone(), (event.by.clone(), index));
        }
        match &object.body {
            Body::Job {
                key: Some(key),
                suspended,
                active,
                complete,
            } => {
                if let Some(release) = object.of() {
                    let story = self.jobs.entry(object.uid.clone()).or_insert_with(|| JobStory {
                        release,
                        name: object.key.name.clone(),
                        key: key.clone(),
                        suspended: true,
                        resumed: None,
                        active: 0,
                        complete: None,
                        gone: false,
                        last: index,
                        pods: Vec::new(),
                        database_returned: false,
                        doubled: false,
                    });
                    story.suspended = *suspended;
                    if !suspended && story.resumed.is_none() {
                        story.resumed = Some((index, event.by.is_slipway()));
                    }
                    story.active = *active;
                    story.complete = story.complete.or(*complete);
                    story.last = index;
                }
            }
            Body::Pod {
                job: Some(job),
                started,
                exit,
                terminal,
            } => {
                let story = self.pods.entry(object.uid.clone()).or_insert_with(|| {
                    if let Some(job) = self.jobs.get_mut(job) {
                        job.pods.push(object.uid.clone());
                    }
                    PodStory {
                        job: job.clone(),
                        ..PodStory::default()
                    }
                });
                if *started && story.started.is_none() {
                    story.started = Some(index);
                }
                story.exit = story.exit.or(*exit);
                story.over |= *terminal;
            }
            Body::Revision(revision) => self.numbered(object, revision),
            Body::Lock { holder } => {
                self.locks.insert(object.key.name.clone(), holder.clone());
            }
            Body::Release(body) => {
                if let Some(release) = object.of() {
                    let said = self.said.entry(release).or_default();
                    said.attempt = said.attempt.max(body.attempt);
                    said.adopt = said.adopt.max(body.adopt);
                    said.retries = said.retries.max(body.retries);
                    note(&mut said.accepted, body.accept.as_ref());
                    note(&mut said.commits, object.commit.as_ref());
                }
            }
            _ => {}
        }
        self.there.insert(
            object.key.clone(),
            Known {
                object: Arc::clone(object),
                written: index,
                by: event.by.clone(),
            },
        );
    }

    /// Whether a revision that is being made has a number that is below another one's, or that was another one's: whoever made
    /// it was late.
    #[must_use]
    pub fn numbers_again(&self, object: &Object, revision: &RevisionBody) -> bool {
        let Some(release) = object.of() else { return false };
        let above = self.there.values().any(|known| {
            matches!(&known.object.body, Body::Revision(other) if other.number > revision.number)
                && known.object.of().as_ref() == Some(&release)
        });
        let was = self.revision(&release, revision.number);
        let other = was.is_some_and(|was| is_another(was, revision));
        !self.there.contains_key(&object.key) && (above || other)
    }

    fn numbered(&mut self, object: &Object, revision: &Arc<RevisionBody>) {
        let Some(release) = object.of() else { return };
        if self.numbers_again(object, revision) {
            self.numbered_twice.insert(release.clone());
        }
        let numbers = self.revisions.entry(release).or_default();
        let of_number = numbers.entry(revision.number).or_default();
        if !of_number.last().is_some_and(|was| is_another(was, revision)) {
            of_number.pop();
        }
        of_number.push(Arc::clone(revision));
    }

    fn gone(&mut self, key: &Key, uid: &Text) {
        if self.there.get(key).is_some_and(|known| known.object.uid == *uid) {
            self.there.remove(key);
        }
        if let Some(job) = self.jobs.get_mut(uid) {
            job.gone = true;
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.over = true;
        }
        if key.kind == Kind::Lease {
            self.locks.remove(&key.name);
        }
    }

    fn fact(&mut self, fact: &Fact) {
        match fact {
            Fact::StartedOn { pod, database } => {
                self.pods.entry(pod.clone()).or_default().database = Some(database.clone());
            }
            Fact::ProgramEnded { pod, whole, reboot } => {
                let story = self.pods.entry(pod.clone()).or_default();
                story.whole = Some(*whole);
                story.reboot |= reboot;
            }
            Fact::DatabaseReturned { job } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.database_returned = true;
                }
            }
            Fact::PodDoubled { job } => {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.doubled = true;
                }
            }
            Fact::Rest | Fact::Unrest | Fact::CauseRemoved { .. } | Fact::PassBegins { .. } => {}
        }
    }
}

fn note(list: &mut Vec<Text>, text: Option<&Text>) {
    if let Some(text) = text
        && !list.contains(text)
    {
        list.push(text.clone());
    }
}

/// Whether two revisions of one number are two.
fn is_another(was: &RevisionBody, now: &RevisionBody) -> bool {
    was.migration != now.migration || was.digest != now.digest
}
