//! The registry, the git server, the Jobs, and the writes that a controller makes, each with its precondition.

use std::{collections::BTreeMap, rc::Rc};

use super::super::{
    super::{
        decision::BuildStep,
        fixtures::{self, digest, rehash, uid},
        observed::{Again, BuilderSeen},
    },
    world::{Refused, rv},
};
use crate::{
    api::{Duration as Span, release::Agree},
    build::key::{Inputs, Wanted},
    names::{CommitId, Digest, Uid},
    plan::observed::Revision,
    repository::{GitUrl, RefName},
    spec::{
        Declared,
        declared::{self, BuildSpec, ImagePick, OriginRef},
    },
};

/// Releases, by index.
pub const RELEASES: usize = 2;
pub const REPOSITORY: &str = "https://git.example.com/acme/billing.git";

#[derive(Clone)]
pub struct World {
    /// Seconds.
    pub clock: u64,
    pub version: u64,
    pub releases: Vec<Release>,
    /// Which commit a tag names.
    pub tags: BTreeMap<String, CommitId>,
    pub git_down: bool,
    pub registry: BTreeMap<String, Image>,
    pub registry_down: bool,
    pub builder: BuilderSeen,
    pub jobs: Vec<Rc<Job>>,
}

#[derive(Clone)]
pub struct Release {
    pub declared: Rc<Declared>,
    /// Whether it declares a version.
    pub valid: bool,
    /// All of them were live.
    pub revisions: Vec<Rc<Revision>>,
}

/// What a reference names.
#[derive(Clone, PartialEq)]
pub struct Image {
    pub digest: Digest,
    pub version: String,
    pub commit: CommitId,
    /// The key of the build that made it.
    pub key: String,
}

#[derive(Clone)]
pub struct Job {
    pub name: String,
    pub uid: Uid,
    pub version: u64,
    pub key: String,
    pub inputs: String,
    pub commit: CommitId,
    pub run: u32,
    pub tries: u32,
    pub larger: bool,
    pub booked: bool,
    /// What is built, under which name.
    pub of: Declared,
    /// Which releases wait for it, each with its counter `attempt` of that time.
    pub wants: BTreeMap<usize, u64>,
    pub state: State,
}

#[derive(Clone, PartialEq)]
pub enum State {
    Waiting,
    Running { since: u64 },
    Pushed(Digest),
    Failed { again: Again, at: u64 },
}

impl Job {
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Pushed(_) | State::Failed { .. })
    }
}

/// A version, whose image is built where there is none. Both releases mean the same image by it.
pub fn declared(version: u32) -> Declared {
    let mut declared = fixtures::declared(version);
    declared.migrate = None;
    declared.image.pick = ImagePick::Tag(declared.version.to_string());
    declared.origin = Some(declared::Origin {
        git: GitUrl::parse(REPOSITORY, false).unwrap(),
        reference: OriginRef::Tag(RefName::tag(&tag(version)).unwrap()),
        path: ".".to_owned(),
        secret: None,
    });
    declared.build = Some(BuildSpec {
        always: false,
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        test_target: None,
        args: BTreeMap::new(),
        secrets: BTreeMap::new(),
        platforms: Vec::new(),
        locks: Agree::Enforce,
        timeout: Span::from_secs(1800),
    });
    rehash(&mut declared);
    declared
}

pub fn tag(version: u32) -> String {
    format!("v{version}.0.0")
}

/// The tag that a declaration names.
pub fn tag_of(declared: &Declared) -> String {
    format!("v{}", declared.version)
}

pub fn commit(number: u64) -> CommitId {
    format!("{number:040x}").parse().unwrap()
}

/// The inputs and the key of a build, in their short forms, and the name of its Job.
pub fn key(declared: &Declared, builder: &str, commit: &CommitId, run: u32) -> (String, String, String) {
    let reference = declared.image.reference();
    let inputs = Inputs::of(Wanted::of(declared, &reference).unwrap(), builder);
    let key = inputs.at(commit);
    (inputs.short().to_owned(), key.short().to_owned(), key.job(run))
}

/// What a request did, as far as it matters to what must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A Job was made.
    Begun(Uid),
    /// A Job was deleted while these others waited for it.
    Ended(Vec<usize>),
    Other,
}

impl World {
    pub fn new() -> Self {
        let release = Release {
            declared: Rc::new(declared(1)),
            valid: true,
            revisions: Vec::new(),
        };
        Self {
            clock: 1000,
            version: 0,
            releases: vec![release; RELEASES],
            tags: (1..=3)
                .map(|version| (tag(version), commit(version.into())))
                .collect(),
            git_down: false,
            registry: BTreeMap::new(),
            registry_down: false,
            builder: BuilderSeen::Ready("builder 1".to_owned()),
            jobs: Vec::new(),
        }
    }

    pub fn bump(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub fn job(&self, uid: &Uid) -> Option<&Rc<Job>> {
        self.jobs.iter().find(|job| job.uid == *uid)
    }

    pub fn change(&mut self, uid: &Uid, change: impl FnOnce(&mut Job)) {
        let version = self.bump();
        if let Some(job) = self.jobs.iter_mut().find(|job| job.uid == *uid) {
            let job = Rc::make_mut(job);
            change(job);
            job.version = version;
        }
    }

    /// The registry takes what a Job built; another digest each time, since nothing is built twice alike.
    pub fn push(&mut self, job: &Job) -> Digest {
        let number = u32::try_from(self.bump()).unwrap();
        let digest = digest(1000 + number);
        let image = Image {
            digest: digest.clone(),
            version: job.of.version.to_string(),
            commit: job.commit.clone(),
            key: job.key.clone(),
        };
        self.registry.insert(job.of.image.reference(), image);
        digest
    }

    /// One write of a build, as `controller::build` makes it. `guarded`: whether it insists on what was seen.
    pub fn build(
        &mut self,
        release: usize,
        declared: &Declared,
        builder: &str,
        step: &BuildStep,
        guarded: bool,
    ) -> Result<Done, Refused> {
        match step {
            BuildStep::Create {
                commit,
                run,
                tries,
                larger,
            } => {
                let (inputs, key, name) = key(declared, builder, commit, *run);
                if self.jobs.iter().any(|job| job.name == name) {
                    return Err(Refused::AlreadyExists);
                }
                let version = self.bump();
                let uid = uid(&format!("uid-{version}"));
                self.jobs.push(Rc::new(Job {
                    name,
                    uid: uid.clone(),
                    version,
                    key,
                    inputs,
                    commit: commit.clone(),
                    run: *run,
                    tries: *tries,
                    larger: *larger,
                    booked: false,
                    of: declared.clone(),
                    wants: [(release, declared.attempt)].into(),
                    state: State::Waiting,
                }));
                Ok(Done::Begun(uid))
            }
            BuildStep::Book { uid, over, .. } => {
                self.seen(uid, over, guarded)?;
                self.change(uid, |job| job.booked = true);
                Ok(Done::Other)
            }
            BuildStep::Join { uid, over, .. } => {
                self.seen(uid, over, guarded)?;
                self.change(uid, |job| {
                    job.wants.insert(release, declared.attempt);
                });
                Ok(Done::Other)
            }
            BuildStep::Leave { uid, over, .. } => {
                self.seen(uid, over, guarded)?;
                self.change(uid, |job| {
                    job.wants.remove(&release);
                });
                Ok(Done::Other)
            }
            BuildStep::Delete { uid, over, .. } => {
                let job = self.seen(uid, over, guarded)?;
                let others = job.wants.keys().copied().filter(|other| *other != release);
                let others = others.collect();
                self.bump();
                self.jobs.retain(|job| job.uid != *uid);
                Ok(Done::Ended(others))
            }
        }
    }

    fn seen(&self, uid: &Uid, over: &str, guarded: bool) -> Result<Rc<Job>, Refused> {
        let job = self.job(uid).ok_or(Refused::NotFound)?;
        if guarded && rv(job.version) != over {
            return Err(Refused::Conflict);
        }
        Ok(Rc::clone(job))
    }
}
