//! The rest of Kubernetes: the Job controller, pods, nodes, the Deployment controller.

use std::rc::Rc;

use serde_json::json;

use super::{
    super::{fixtures::digest, observed::JobEnd},
    random::Random,
    rendered::image,
    truth::Truth,
    world::{Pod, Stuck, World},
};
use crate::{names::Uid, trace::event::Fact};

/// Something that can happen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The Job controller looks at a Job.
    Sync(Uid),
    /// A container starts.
    Start(usize),
    /// A container ends.
    End(usize),
    /// The Deployment controller is done.
    Rollout,
}

/// All that can happen now.
pub fn possible(world: &World) -> Vec<Event> {
    let mut events = Vec::new();
    for job in world
        .jobs
        .iter()
        .filter(|job| job.finished.is_none() && !job.deleting)
    {
        let pod = job.pod.map(|number| world.pod(number));
        let acts = match pod {
            None => !job.suspended || job.start_time,
            Some(pod) => job.suspended || pod.is_none_or(|pod| pod.terminal),
        };
        if acts {
            events.push(Event::Sync(job.uid.clone()));
        }
    }
    // One that waits for a Secret is tried again in vain until that is there.
    let waits = |pod: &Pod| pod.stuck == Some(Stuck::Config) && world.outside.password.is_none();
    for pod in world.pods.iter().filter(|pod| !pod.terminal) {
        if waits(pod) && !pod.deleting {
            continue;
        }
        // What no node has when its Job is suspended is deleted before one gets it: docs/migrations.md tells this limit.
        let suspended = world.job(&pod.job).is_some_and(|job| job.suspended);
        if pod.stuck == Some(Stuck::Room) && suspended && !pod.deleting {
            continue;
        }
        let event = if pod.started.is_some() || pod.deleting {
            Event::End
        } else {
            Event::Start
        };
        events.push(event(pod.number));
    }
    if let Some(deployment) = world.deployment() {
        let wanted = &deployment["spec"]["replicas"];
        let taken_up = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"];
        if !taken_up || deployment["status"]["availableReplicas"] != *wanted {
            events.push(Event::Rollout);
        }
    }
    events
}

pub fn happen(world: &mut World, truth: &mut Truth, random: &mut Random, event: &Event) {
    match event {
        Event::Sync(uid) => sync(world, uid, random),
        Event::Start(number) => return start(world, truth, *number, random),
        Event::End(number) => end(world, truth, *number, random),
        Event::Rollout => world.change_deployment(|deployment| {
            let n = deployment["spec"]["replicas"].clone();
            deployment["status"] = json!({
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": n, "updatedReplicas": n, "availableReplicas": n,
            });
        }),
    }
    world.collect();
}

/// One pod for a Job that may run; `Complete` or `Failed` when it has ended; none for a suspended Job.
fn sync(world: &mut World, uid: &Uid, random: &mut Random) {
    let Some(job) = world.job(uid).cloned() else {
        return;
    };
    let pod = job.pod.map(|number| world.pod(number).cloned());
    match pod {
        None if job.suspended => world.change_job(uid, |job| job.start_time = false),
        None if random.percent(20) => world.change_job(uid, |job| {
            job.start_time = true;
            job.refused = true;
        }),
        None => {
            let number = new_pod(world, uid);
            world.change_job(uid, |job| {
                job.start_time = true;
                job.refused = false;
                job.pod = Some(number);
            });
        }
        Some(pod) if pod.as_ref().is_none_or(|pod| pod.terminal) => {
            // Exit 0 is Complete, whatever made the program end.
            let end = match pod {
                Some(pod) if pod.exit_code == Some(0) && !pod.evicted => JobEnd::Complete,
                _ => JobEnd::Failed("BackoffLimitExceeded".into()),
            };
            // What runs beside the pod that counts is ended.
            let beside = |pod: &&Rc<Pod>| pod.job == *uid && Some(pod.number) != job.pod && !pod.terminal;
            let beside: Vec<usize> = world.pods.iter().filter(beside).map(|pod| pod.number).collect();
            for number in beside {
                world.change_pod(number, |pod| pod.deleting = true);
            }
            world.change_job(uid, |job| job.finished = Some(end));
        }
        Some(_) => {
            world.delete_pods_of(uid);
            world.change_job(uid, |job| {
                job.pod = None;
                job.start_time = false;
            });
        }
    }
}

fn new_pod(world: &mut World, uid: &Uid) -> usize {
    let number = usize::try_from(world.bump()).unwrap();
    if let Some(job) = world.job(uid).cloned() {
        world.pods.push(Rc::new(Pod {
            number,
            job: uid.clone(),
            key: job.key.clone(),
            started: None,
            exit_code: None,
            terminal: false,
            deleting: false,
            disrupted: false,
            evicted: false,
            stuck: None,
        }));
    }
    number
}

/// Kubernetes makes a second pod of a Job that runs, and counts the first.
pub fn double(world: &mut World, truth: &mut Truth, random: &mut Random) -> Option<Uid> {
    let runs = |uid: &Uid| {
        let job = world.job(uid);
        job.is_some_and(|job| job.finished.is_none() && !job.suspended && !job.deleting)
    };
    let running: Vec<Uid> = world
        .pods
        .iter()
        .filter(|pod| pod.started.is_some() && !pod.terminal && runs(&pod.job))
        .map(|pod| pod.job.clone())
        .collect();
    let uid = random.pick(&running)?.clone();
    new_pod(world, &uid);
    truth.facts.push(Fact::PodDoubled {
        job: uid.as_str().into(),
    });
    Some(uid)
}

fn start(world: &mut World, truth: &mut Truth, number: usize, random: &mut Random) {
    let (clock, database) = (world.clock, world.database);
    let config = world.outside.password.is_none();
    let Some(pod) = world.pod(number) else { return };
    let stuck = if config {
        Some(Stuck::Config)
    } else if pod.stuck.is_none() && random.percent(15) {
        Some(if number.is_multiple_of(2) {
            Stuck::Image
        } else {
            Stuck::Room
        })
    } else {
        None
    };
    world.change_pod(number, |pod| {
        pod.stuck = stuck;
        pod.started = stuck.is_none().then_some(clock);
    });
    if stuck.is_none()
        && let Some(pod) = world.pod(number).cloned()
    {
        // Its pod is ready, which the Job's status counts: nobody suspends it any more as it was seen before.
        world.change_job(&pod.job, |_| {});
        truth.container_starts(&pod, database);
    }
}

/// The program gets to its end, or fails by itself, or is interrupted: by TERM it may end with exit 0 all the same.
fn end(world: &mut World, truth: &mut Truth, number: usize, random: &mut Random) {
    let Some(pod) = world.pod(number) else { return };
    let started = pod.started.is_some();
    let (code, done) = match (started, pod.deleting) {
        (false, _) => (None, false),
        (true, true) => random.one_of(&[
            (9, (Some(0), false)),
            (3, (Some(0), true)),
            (8, (Some(143), false)),
        ]),
        (true, false) => random.one_of(&[(15, (Some(0), true)), (5, (Some(1), false))]),
    };
    world.change_pod(number, |pod| {
        pod.terminal = true;
        pod.exit_code = code;
    });
    if started && let Some(pod) = world.pod(number) {
        truth.container_ends(pod, done, false);
    }
}

/// The node is started anew: what ran there ended midway, with exit 0 where the runtime answered TERM in order.
pub fn reboot(world: &mut World, truth: &mut Truth, random: &mut Random) {
    world.bump();
    world.boot += 1;
    let running: Vec<usize> = world
        .pods
        .iter()
        .filter(|pod| pod.started.is_some() && !pod.terminal)
        .map(|pod| pod.number)
        .collect();
    for number in running {
        let code = if random.percent(60) { 0 } else { 255 };
        world.change_pod(number, |pod| {
            pod.terminal = true;
            pod.exit_code = Some(code);
        });
        if let Some(pod) = world.pod(number) {
            truth.container_ends(pod, false, true);
        }
    }
    world.collect();
}

/// The kubelet throws a pod out, for want of disk: its container is ended, and says so.
pub fn evict(world: &mut World, truth: &mut Truth, number: usize) {
    let Some(pod) = world.pod(number).filter(|pod| !pod.terminal) else {
        return;
    };
    let started = pod.started.is_some();
    world.change_pod(number, |pod| {
        pod.terminal = true;
        pod.evicted = true;
        pod.exit_code = started.then_some(0);
    });
    if started && let Some(pod) = world.pod(number) {
        truth.container_ends(pod, false, false);
    }
}

/// Whether the pods of a Deployment crash: those of version 3 do, as soon as they are rolled out.
pub fn crashes(deployment: &serde_json::Value) -> bool {
    image(deployment).is_some_and(|image| image.ends_with(digest(3).as_str()))
}
