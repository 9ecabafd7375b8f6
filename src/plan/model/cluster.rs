//! The rest of Kubernetes: the Job controller, pods, nodes, the Deployment controller.

use serde_json::json;

use super::{
    super::observed::JobEnd,
    random::Random,
    truth::Truth,
    world::{Pod, World},
};
use crate::names::Uid;

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
        let pod = job
            .pod
            .map(|number| world.pods.iter().find(|pod| pod.number == number));
        let acts = match pod {
            None => !job.suspended || job.start_time,
            Some(pod) => job.suspended || pod.is_none_or(|pod| pod.terminal),
        };
        if acts {
            events.push(Event::Sync(job.uid.clone()));
        }
    }
    for pod in world.pods.iter().filter(|pod| !pod.terminal) {
        let event = if pod.started.is_some() || pod.deleting {
            Event::End
        } else {
            Event::Start
        };
        events.push(event(pod.number));
    }
    if let Some(deployment) = world.deployment() {
        let wanted = &deployment["spec"]["replicas"];
        if world.rolled().is_none() || deployment["status"]["availableReplicas"] != *wanted {
            events.push(Event::Rollout);
        }
    }
    events
}

pub fn happen(world: &mut World, truth: &mut Truth, random: &mut Random, event: &Event) {
    match event {
        Event::Sync(uid) => sync(world, uid),
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
fn sync(world: &mut World, uid: &Uid) {
    let Some(job) = world.job(uid).cloned() else {
        return;
    };
    let pod = job
        .pod
        .map(|number| world.pods.iter().find(|pod| pod.number == number).cloned());
    match pod {
        None if job.suspended => world.change_job(uid, |job| job.start_time = false),
        None => {
            let number = usize::try_from(world.bump()).unwrap();
            world.pods.push(Pod {
                number,
                job: uid.clone(),
                key: job.key.clone(),
                started: None,
                exit_code: None,
                terminal: false,
                deleting: false,
                stuck: false,
            });
            world.change_job(uid, |job| {
                job.start_time = true;
                job.pod = Some(number);
            });
        }
        Some(pod) if pod.as_ref().is_none_or(|pod| pod.terminal) => {
            // Exit 0 is Complete, whatever made the program end.
            let end = match pod {
                Some(pod) if pod.exit_code == Some(0) => JobEnd::Complete,
                _ => JobEnd::Failed("BackoffLimitExceeded".into()),
            };
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

fn start(world: &mut World, truth: &mut Truth, number: usize, random: &mut Random) {
    let (clock, database) = (world.clock, world.database);
    world.bump();
    let Some(pod) = world.pods.iter_mut().find(|pod| pod.number == number) else {
        return;
    };
    if !pod.stuck && random.percent(15) {
        pod.stuck = true;
        return;
    }
    pod.stuck = false;
    pod.started = Some(clock);
    truth.container_starts(pod, database);
}

/// The program gets to its end, or fails by itself, or is interrupted: by TERM it may end with exit 0 all the same.
fn end(world: &mut World, truth: &mut Truth, number: usize, random: &mut Random) {
    world.bump();
    let Some(pod) = world.pods.iter_mut().find(|pod| pod.number == number) else {
        return;
    };
    pod.terminal = true;
    if pod.started.is_none() {
        return;
    }
    let (code, done) = match (pod.deleting, random.below(20)) {
        (true, 0..9) => (0, false),
        (true, 9..12) | (false, 0..15) => (0, true),
        (true, _) => (143, false),
        (false, _) => (1, false),
    };
    pod.exit_code = Some(code);
    truth.container_ends(pod, done, false);
}

/// The node is started anew: what ran there ended midway, with exit 0 where the runtime answered TERM in order.
pub fn reboot(world: &mut World, truth: &mut Truth, random: &mut Random) {
    world.bump();
    world.boot += 1;
    for pod in world
        .pods
        .iter_mut()
        .filter(|pod| pod.started.is_some() && !pod.terminal)
    {
        pod.terminal = true;
        pod.exit_code = Some(if random.percent(60) { 0 } else { 255 });
        truth.container_ends(pod, false, true);
    }
    world.collect();
}
