//! What happens in the model → a trace, by comparing the world before and after each move.

use std::{rc::Rc, sync::Arc};

use jiff::Timestamp;

use super::{
    super::{decision::Report, fixtures::id, observed::JobEnd, rotation},
    controller::{Request, phase_word},
    rendered::{image, template},
    truth::Truth,
    world::{Job, Kept, Lock, Pod, Refused, World, number},
};
use crate::{
    names::Uid,
    render::{ObjectKey, Ownership, ours},
    trace::{
        Sight, Trace, What,
        event::{Actor, Fact, Refusal, Why, Write},
        object::{Body, DeploymentBody, Key, Kind, Object, ReleaseBody, RevisionBody, Text},
    },
};

mod step;

use step::{Written, deleted, guard, written};

/// Who acts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Controller(usize),
    /// A request of it that arrives when it has long given up waiting for an answer: of no use to what it sees then, and so
    /// told apart from it, each by its number.
    Late(usize, usize),
    Cluster,
    People,
}

#[derive(Clone)]
pub struct Recorder {
    pub trace: Trace,
    before: Option<Rc<World>>,
    actors: [Actor; 4],
    namespace: Text,
    release: Text,
    /// Of the `Release`: what it says, its generation, and what was last reported.
    body: ReleaseBody,
    generation: u64,
}

impl Recorder {
    /// `direct` says that no look is older than it can be.
    pub fn new(direct: bool) -> Self {
        let mut sights = vec![
            Sight::Beginning,
            Sight::Pods,
            Sight::Programs,
            Sight::Status,
            Sight::Rest,
        ];
        if direct {
            sights.push(Sight::Reads);
        }
        Self {
            trace: Trace::new(&sights),
            before: None,
            actors: [
                Actor::Slipway("0".into()),
                Actor::Slipway("1".into()),
                Actor::Kubernetes("cluster".into()),
                Actor::Person("people".into()),
            ],
            namespace: id().namespace.as_str().into(),
            release: id().name.as_str().into(),
            body: ReleaseBody::default(),
            generation: 0,
        }
    }

    fn actor(&self, who: Who) -> Actor {
        let at = match who {
            Who::Controller(which) => which,
            Who::Late(which, number) => {
                return Actor::Slipway(format!("{which}, late {number}").into());
            }
            Who::Cluster => 2,
            Who::People => 3,
        };
        self.actors[at].clone()
    }

    fn push(&mut self, world: &World, who: Who, what: What) {
        let at = Timestamp::from_second(i64::try_from(world.clock).unwrap()).unwrap();
        let by = self.actor(who);
        self.trace.push(at, by, what);
    }

    pub fn fact(&mut self, world: &World, fact: Fact) {
        self.push(world, Who::Cluster, What::Fact(fact));
    }

    fn key(&self, kind: Kind, name: &str) -> Key {
        Key {
            kind,
            namespace: self.namespace.clone(),
            name: name.into(),
        }
    }

    fn wrote(
        &mut self,
        world: &World,
        who: Who,
        created: bool,
        over: Option<u64>,
        (key, uid, version): (Key, Text, u64),
        body: Body,
    ) {
        self.wrote_as(world, who, (created, true), over, (key, uid, version), body);
    }

    /// `ours` says whether it is Slipway's by its own word.
    fn wrote_as(
        &mut self,
        world: &World,
        who: Who,
        (created, ours): (bool, bool),
        over: Option<u64>,
        (key, uid, version): (Key, Text, u64),
        body: Body,
    ) {
        let object = Object {
            key,
            uid,
            version,
            generation: 0,
            release: ours.then(|| self.release.clone()),
            ours,
            deleting: false,
            commit: None,
            body,
        };
        let write = Write {
            created,
            status: false,
            over,
            object: Arc::new(object),
            applied: None,
        };
        self.push(world, who, What::Wrote(write));
    }

    fn gone(&mut self, world: &World, who: Who, kind: Kind, name: &str, uid: &str) {
        let key = self.key(kind, name);
        let uid = uid.into();
        self.push(world, who, What::Gone { key, uid });
    }

    /// Everything that differs from what was recorded last, and what is known of it beyond.
    pub fn record(&mut self, world: &Rc<World>, truth: &mut Truth, who: Who, request: Option<&Request>) {
        if let Some((kind, name, uid)) = request.and_then(|request| deleted(&request.step)) {
            let key = self.key(kind, &name);
            let only = uid.map(|uid| uid.as_str().into());
            self.push(world, who, What::Deleted { key, only });
        }
        let before = self.before.replace(Rc::clone(world));
        let before = before.as_deref();
        self.declared(world, before);
        self.revisions(world, before, who, request);
        self.ledger(world, before, who, request);
        self.jobs(world, before, who, request);
        self.locks(world, before, who, request);
        self.objects(world, before, who, request);
        self.pods(world, before);
        for fact in truth.facts.drain(..) {
            self.fact(world, fact);
        }
    }

    /// A write that was not taken.
    pub fn refused(&mut self, world: &World, who: Who, request: &Request, refused: Refused) {
        let written = written(&request.step);
        let Some(written) = written.first() else { return };
        let key = match written {
            Written::Rendered(key) => self.key(kind_of(key), &key.name),
            Written::Ledger => self.key(Kind::ConfigMap, &format!("{}-ledger", self.release)),
            Written::Lock(name) => self.key(Kind::Lease, name),
            Written::Job(name) => self.key(Kind::Job, name),
            Written::Revision(number) => self.key(Kind::ReleaseRevision, &number.object_name(&id().name)),
        };
        let over = guard(Some(request), written);
        let why = match refused {
            Refused::Conflict => Why::Conflict,
            Refused::AlreadyExists => Why::Exists,
            Refused::NotFound => Why::Missing,
        };
        self.push(world, who, What::Refused(Refusal { key, over, why }));
    }

    /// The status that a controller would write.
    pub fn status(&mut self, world: &World, who: Who, report: &Report) {
        self.body.observed = self.generation;
        self.body.phase = phase_word(&report.phase).into();
        self.body.message = report.message.as_str().into();
        self.body.live_version = report.live_version.as_deref().map(Into::into);
        self.body.live_revision = report.live.map(|number| number.0);
        self.release(world, who, false, true);
    }

    fn release(&mut self, world: &World, who: Who, created: bool, status: bool) {
        let object = Object {
            key: self.key(Kind::Release, &self.release),
            uid: "release".into(),
            version: world.version,
            generation: self.generation,
            release: Some(self.release.clone()),
            ours: true,
            deleting: false,
            commit: None,
            body: Body::Release(self.body.clone()),
        };
        let write = Write {
            created,
            status,
            over: None,
            object: Arc::new(object),
            applied: None,
        };
        self.push(world, who, What::Wrote(write));
    }

    fn declared(&mut self, world: &World, before: Option<&World>) {
        let declared = &world.declared;
        if before.is_some_and(|before| before.generation == world.generation) {
            return;
        }
        self.generation = world.generation;
        let migrate = declared.migrate.as_ref();
        self.body.version = Some(declared.version.to_string().into());
        self.body.attempt = declared.attempt;
        self.body.adopt = declared.adopt;
        self.body.retries = migrate.map_or(0, |migrate| migrate.retries);
        self.body.accept = migrate.and_then(|migrate| migrate.accept.as_deref().map(Into::into));
        self.release(world, Who::People, before.is_none(), false);
    }

    fn revisions(&mut self, world: &World, before: Option<&World>, who: Who, request: Option<&Request>) {
        let old = before.map_or(&[][..], |before| &before.revisions);
        let find = |uid: &Uid| old.iter().find(|old| old.uid == *uid);
        for kept in old {
            if !world.revisions.iter().any(|now| now.uid == kept.uid) {
                let name = kept.revision.number.object_name(&id().name);
                self.gone(world, who, Kind::ReleaseRevision, &name, kept.uid.as_str());
            }
        }
        for kept in &world.revisions {
            let known = find(&kept.uid);
            if known.is_some_and(|known| known.version == kept.version) {
                continue;
            }
            let name = kept.revision.number.object_name(&id().name);
            let key = self.key(Kind::ReleaseRevision, &name);
            let over = guard(request, &Written::Revision(kept.revision.number));
            let about = (key, kept.uid.as_str().into(), kept.version);
            self.wrote(world, who, known.is_none(), over, about, revision_body(kept));
        }
    }

    fn ledger(&mut self, world: &World, before: Option<&World>, who: Who, request: Option<&Request>) {
        let old = before.and_then(|before| before.ledger.as_ref());
        let name = format!("{}-ledger", self.release);
        let Some(seen) = &world.ledger else {
            if old.is_some() {
                self.gone(world, who, Kind::ConfigMap, &name, "ledger");
            }
            return;
        };
        if old.is_some_and(|old| Rc::ptr_eq(old, seen)) {
            return;
        }
        let about = (
            self.key(Kind::ConfigMap, &name),
            "ledger".into(),
            number(&seen.resource_version),
        );
        let body = Body::Ledger(Arc::new(seen.ledger.clone()));
        let over = guard(request, &Written::Ledger);
        self.wrote(world, who, old.is_none(), over, about, body);
    }

    fn jobs(&mut self, world: &World, before: Option<&World>, who: Who, request: Option<&Request>) {
        let old = before.map_or(&[][..], |before| &before.jobs);
        let find = |uid: &Uid| old.iter().find(|old| old.uid == *uid);
        for job in &world.jobs {
            let known = find(&job.uid);
            if known.is_some_and(|known| Rc::ptr_eq(known, job) || known.version == job.version) {
                continue;
            }
            // The controller of Jobs writes status, whoever made it look.
            let said = |job: &Job| (job.suspended, job.withdrawn);
            let who = if known.is_none_or(|known| said(known) != said(job)) {
                who
            } else {
                Who::Cluster
            };
            let key = self.key(Kind::Job, &job.name);
            let about = (key, job.uid.as_str().into(), job.version);
            let over = guard(request, &Written::Job(&job.name));
            self.wrote(world, who, known.is_none(), over, about, job_body(job, world));
        }
        for job in old
            .iter()
            .filter(|old| !world.jobs.iter().any(|job| job.uid == old.uid))
        {
            self.gone(world, who, Kind::Job, &job.name, job.uid.as_str());
        }
    }

    fn locks(&mut self, world: &World, before: Option<&World>, who: Who, request: Option<&Request>) {
        for (name, lock) in &world.locks {
            let Lock { holder, version } = lock;
            let known = before.and_then(|before| before.locks.get(name));
            if known.is_some_and(|known| known.version == *version) {
                continue;
            }
            let about = (self.key(Kind::Lease, name), name.as_str().into(), *version);
            let holder = holder.as_ref().map(|(uid, _)| uid.as_str().into());
            let over = guard(request, &Written::Lock(name));
            self.wrote(world, who, known.is_none(), over, about, Body::Lock { holder });
        }
    }

    fn objects(&mut self, world: &World, before: Option<&World>, who: Who, request: Option<&Request>) {
        for (key, live) in &world.objects {
            let known = before.and_then(|before| before.objects.get(key));
            if known.is_some_and(|known| Rc::ptr_eq(known, live)) {
                continue;
            }
            let about = (
                self.key(kind_of(key), &key.name),
                live.uid.as_str().into(),
                number(&live.resource_version),
            );
            let created = known.is_none_or(|known| known.uid != live.uid);
            let ours = ours(&id(), key, &live.value) == Ownership::Ours;
            let body = match kind_of(key) {
                Kind::Deployment => Body::Deployment(deployment_body(&live.value)),
                _ => Body::Plain,
            };
            let over = guard(request, &Written::Rendered(key));
            self.wrote_as(world, who, (created, ours), over, about, body);
        }
        let old = before.into_iter().flat_map(|before| &before.objects);
        for (key, live) in old.filter(|(key, _)| !world.objects.contains_key(key)) {
            self.gone(world, who, kind_of(key), &key.name, live.uid.as_str());
        }
    }

    fn pods(&mut self, world: &World, before: Option<&World>) {
        let old = before.map_or(&[][..], |before| &before.pods);
        for pod in &world.pods {
            let known = old.iter().find(|old| old.number == pod.number);
            let look = |pod: &Pod| (pod.started, pod.exit_code, pod.terminal);
            if known.is_some_and(|known| Rc::ptr_eq(known, pod) || look(known) == look(pod)) {
                continue;
            }
            let name = pod_name(pod.number);
            let body = Body::Pod {
                job: Some(pod.job.as_str().into()),
                started: pod.started.is_some(),
                exit: pod.exit_code,
                terminal: pod.terminal,
            };
            let about = (self.key(Kind::Pod, &name), name.as_str().into(), world.version);
            self.wrote(world, Who::Cluster, known.is_none(), None, about, body);
        }
        for pod in old
            .iter()
            .filter(|old| !world.pods.iter().any(|pod| pod.number == old.number))
        {
            let name = pod_name(pod.number);
            self.gone(world, Who::Cluster, Kind::Pod, &name, &name);
        }
    }
}

fn revision_body(kept: &Kept) -> Body {
    let revision = &kept.revision;
    // What was rendered is not asked for, but what of it there is.
    let objects = revision.objects.iter().map(|object| {
        let key = (object.key.kind.as_str().into(), object.key.name.as_str().into());
        (key, serde_json::Value::Null)
    });
    Body::Revision(Arc::new(RevisionBody {
        number: revision.number.0,
        reference: revision.reference.as_str().into(),
        repin: revision.repin,
        digest: revision.digest.as_str().into(),
        commit: None,
        beside: rotation::made_beside(&revision.cause),
        migration: revision.migration.as_ref().map(|migration| {
            (
                migration.key.clone(),
                migration.database.as_str().into(),
                migration.lock.as_str().into(),
            )
        }),
        objects: objects.collect(),
    }))
}

pub fn pod_name(number: usize) -> String {
    format!("pod-{number}")
}

fn kind_of(key: &ObjectKey) -> Kind {
    Kind::parse(key.kind.as_str()).unwrap()
}

fn job_body(job: &Job, world: &World) -> Body {
    Body::Job {
        key: Some(job.key.clone()),
        suspended: job.suspended,
        active: u32::from(
            world
                .pods
                .iter()
                .any(|pod| Some(pod.number) == job.pod && !pod.terminal),
        ),
        complete: job.finished.as_ref().map(|end| *end == JobEnd::Complete),
    }
}

fn deployment_body(value: &serde_json::Value) -> DeploymentBody {
    let small = |value: &serde_json::Value| u32::try_from(value.as_u64().unwrap_or(0)).unwrap();
    let (status, generation) = (&value["status"], &value["metadata"]["generation"]);
    // Generations of objects are not recorded; what was observed counts only where it is the present one.
    let current = status["observedGeneration"] == *generation;
    DeploymentBody {
        revision: template(value),
        images: image(value).into_iter().map(Into::into).collect(),
        replicas: small(&value["spec"]["replicas"]),
        may_miss: Some(0),
        observed: u64::from(current),
        updated: if current {
            small(&status["updatedReplicas"])
        } else {
            0
        },
        available: small(&status["availableReplicas"]),
    }
}
