//! What can happen to a cluster, as far as an invariant asks for it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::object::{Key, Object, Release, Text};

/// What happened, in the order in which the API server did it.
#[derive(Debug, Clone)]
pub struct Trace {
    /// What its origin could see.
    pub sights: Vec<Sight>,
    /// What is too often, too long, too many.
    pub bounds: Bounds,
    /// Each commit with its parents; empty without [`Sight::Git`].
    pub git: BTreeMap<Text, Vec<Text>>,
    /// The same story without the fault, for S18.
    pub reference: Option<Box<Trace>>,
    /// The events.
    pub events: Vec<Event>,
    /// When the trace was closed; not before the last event.
    pub end: Timestamp,
}

/// The numbers that predicates compare with.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// S19: writes of one object by Slipway within a minute. A release that is rolled out has its status written at
    /// each step, about 20 in its liveliest minute; a fight makes one per pass and never ends.
    pub writes_per_minute: usize,
    /// L1–L3: how long after the last thing that anybody else did a release may be on its way.
    pub settle: SignedDuration,
    /// L4: how many times longer a release may take while another one fails.
    pub delay_factor: i32,
    /// L4: what it may take in any case.
    pub delay: SignedDuration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            writes_per_minute: 40,
            settle: SignedDuration::from_secs(120),
            delay_factor: 5,
            delay: SignedDuration::from_secs(30),
        }
    }
}

/// What the origin of a trace can see beyond accepted writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// The trace begins before the first object that it speaks of.
    Beginning,
    /// Pods of migrations, with the start and end of their containers.
    Pods,
    /// What a program did, which no Kubernetes knows: whether it got to its end, and on which database.
    Programs,
    /// What was sent in an apply, not only what came of it.
    Applied,
    /// The reads of the controllers are what they had from the API server, not made up by a model.
    Reads,
    /// Times are those of a clock, so that rates and durations mean something.
    Clock,
    /// Which pods of a Deployment are available, as the Deployment controller counts them.
    Availability,
    /// The status of releases.
    Status,
    /// Somebody says when everything has come to rest.
    Rest,
    /// Another trace of the same story without the fault.
    Reference,
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Beginning => "the beginning",
            Self::Pods => "pods",
            Self::Programs => "what programs did",
            Self::Applied => "what was applied",
            Self::Reads => "true reads",
            Self::Clock => "a clock",
            Self::Availability => "available pods",
            Self::Status => "the status of releases",
            Self::Rest => "when all is at rest",
            Self::Reference => "the same story without the fault",
        })
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: Actor,
    /// By which it is found again: the audit id.
    pub request: Option<Text>,
    /// What.
    pub what: What,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// A process of Slipway; each has a name of its own, so that two of them can be told apart.
    Slipway(Text),
    /// Kubernetes: its controllers and nodes.
    Kubernetes(Text),
    /// A person or another program.
    Person(Text),
}

impl Actor {
    /// Whether Slipway did it.
    #[must_use]
    pub fn is_slipway(&self) -> bool {
        matches!(self, Self::Slipway(_))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slipway(name) => write!(f, "Slipway ({name})"),
            Self::Kubernetes(name) | Self::Person(name) => f.write_str(name),
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// An object was written, and is now as it says.
    Wrote(Write),
    /// A deletion was accepted. The object may stay a while; [`What::Gone`] says when it went.
    Deleted {
        /// Which.
        key: Key,
        /// The UID that the request insisted on.
        only: Option<Text>,
    },
    /// An object is no more.
    Gone {
        /// Which.
        key: Key,
        /// Its UID.
        uid: Text,
    },
    /// A write was not taken.
    Refused(Refusal),
    /// What only the one who made the trace knows.
    Fact(Fact),
}

/// An accepted write.
#[derive(Debug, Clone)]
pub struct Write {
    /// Whether there was no such object before.
    pub created: bool,
    /// Whether the status alone was written.
    pub status: bool,
    /// The resourceVersion that the request insisted on.
    pub over: Option<u64>,
    /// What is there now.
    pub object: Arc<Object>,
    /// What was sent, where it was an apply.
    pub applied: Option<Arc<Value>>,
}

/// A write that was not taken.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Which object.
    pub key: Key,
    /// The resourceVersion that the request insisted on.
    pub over: Option<u64>,
    /// Why.
    pub why: Why,
}

/// Why a write was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The object is another one than the request was made for.
    Conflict,
    /// There is one of that name.
    Exists,
    /// There is none.
    Missing,
    /// Anything else: quota, admission, a broken server.
    Other(u16),
}

/// What no API server writes down.
#[derive(Debug, Clone)]
pub enum Fact {
    /// The container of a pod was started on this database.
    StartedOn {
        /// UID of the pod.
        pod: Text,
        /// `host:port/name`.
        database: Text,
    },
    /// The program of a pod ended.
    ProgramEnded {
        /// UID of the pod.
        pod: Text,
        /// Whether it did all its work.
        whole: bool,
        /// Whether its node was started anew under it.
        reboot: bool,
    },
    /// A pass over a source has read what it acts on.
    PassBegins {
        /// Which source.
        source: Text,
    },
    /// Kubernetes made a second pod of a Job, which it reserves the right to do whatever the Job says.
    PodDoubled {
        /// UID of the Job.
        job: Text,
    },
    /// The database of a run was exchanged and brought back, so that nobody can see that it ran elsewhere.
    DatabaseReturned {
        /// UID of the Job.
        job: Text,
    },
    /// Nothing is to be done any more until somebody does something.
    Rest,
    /// Somebody will do something.
    Unrest,
    /// What a release waited for is there.
    CauseRemoved {
        /// Which release.
        release: Release,
        /// The reason that it gave.
        reason: Text,
    },
}

// === impl Trace ===

impl Trace {
    /// An empty trace of an origin with these sights.
    #[must_use]
    pub fn new(sights: &[Sight]) -> Self {
        Self {
            sights: sights.to_vec(),
            bounds: Bounds::default(),
            git: BTreeMap::new(),
            reference: None,
            events: Vec::new(),
            end: Timestamp::UNIX_EPOCH,
        }
    }

    /// Whether its origin sees this.
    #[must_use]
    pub fn has(&self, sight: Sight) -> bool {
        self.sights.contains(&sight)
    }

    /// Something happened.
    pub fn push(&mut self, at: Timestamp, by: Actor, what: What) {
        self.end = self.end.max(at);
        self.events.push(Event {
            at,
            by,
            request: None,
            what,
        });
    }

    /// With the same story without the fault, for S18.
    #[must_use]
    pub fn compared_with(mut self, reference: Self) -> Self {
        self.sights.push(Sight::Reference);
        self.reference = Some(Box::new(reference));
        self
    }
}

impl What {
    /// The object that it is about.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Wrote(write) => Some(&write.object.key),
            Self::Deleted { key, .. } | Self::Gone { key, .. } => Some(key),
            Self::Refused(refusal) => Some(&refusal.key),
            Self::Fact(_) => None,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrote(write) => {
                let word = match (write.created, write.status) {
                    (true, _) => "created",
                    (false, true) => "wrote the status of",
                    (false, false) => "wrote",
                };
                write!(f, "{word} {}", write.object.key)
            }
            Self::Deleted { key, .. } => write!(f, "deleted {key}"),
            Self::Gone { key, .. } => write!(f, "ended {key}"),
            Self::Refused(refusal) => write!(f, "was refused {} ({:?})", refusal.key, refusal.why),
            Self::Fact(fact) => write!(f, "is known for {fact:?}"),
        }
    }
}
