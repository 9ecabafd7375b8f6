//! What people do: commits, rotated Secrets, and hands on the cluster.

use std::rc::Rc;

use super::{
    super::{
        fixtures::{self, DATABASE},
        ledger::EntryState,
    },
    cluster::reboot,
    random::Random,
    truth::Truth,
    world::World,
};
use crate::spec::Declared;

/// A commit.
pub fn commit(world: &mut World, random: &mut Random) -> String {
    let mut next = Declared::clone(&world.declared);
    let told = match random.below(10) {
        0..4 => {
            // Forward, or back to what was. Version 4 has no migration; version 3 crashes.
            let version = u32::try_from(1 + random.below(4)).unwrap();
            next = Declared {
                attempt: next.attempt,
                processes: next.processes,
                ..fixtures::declared(version)
            };
            if version == 4 {
                next.migrate = None;
            }
            format!("commits version {version}")
        }
        4 | 5 => {
            next.attempt += 1;
            format!("commits attempt {}", next.attempt)
        }
        6 | 7 => {
            let replicas = u32::try_from(1 + random.below(3)).unwrap();
            next.processes
                .values_mut()
                .for_each(|process| process.replicas = replicas);
            format!("commits {replicas} replicas")
        }
        8 => {
            let Some(migrate) = &mut next.migrate else {
                return "commits nothing".into();
            };
            migrate.rerun += 1;
            format!("commits rerun {}", migrate.rerun)
        }
        _ => {
            let unknown = world.ledger.as_ref().and_then(|seen| {
                let mut entries = seen.ledger.entries.iter();
                entries
                    .find(|(_, entry)| entry.state == EntryState::Unknown)
                    .map(|(key, _)| key.clone())
            });
            let (Some(key), Some(migrate)) = (unknown, &mut next.migrate) else {
                return "commits nothing".into();
            };
            migrate.accept = Some(key.short().to_owned());
            format!("commits accept {key}")
        }
    };
    fixtures::rehash(&mut next);
    world.bump();
    world.declared = Rc::new(next);
    told
}

/// Another database behind the reference, or the first again.
pub fn rotate(world: &mut World, truth: &mut Truth) -> String {
    world.bump();
    world.database = if world.database == DATABASE {
        "db2:5432/shop"
    } else {
        DATABASE
    };
    truth.database_named(world.database);
    format!("rotates to {}", world.database)
}

/// Hands on the cluster.
pub fn meddle(world: &mut World, truth: &mut Truth, random: &mut Random) -> String {
    let job = random.pick(&world.jobs).cloned();
    let pod = random.pick(&world.pods).map(|pod| pod.number);
    let told = match (random.below(9), job, pod) {
        (0, Some(job), _) => {
            let _ = world.delete_job(&job.uid, None);
            format!("deletes Job {} in the foreground", job.uid)
        }
        (1, Some(job), _) => {
            world.jobs.retain(|other| other.uid != job.uid);
            world.delete_pods_of(&job.uid);
            format!("deletes Job {} in the background", job.uid)
        }
        (2, Some(job), _) => {
            world.jobs.retain(|other| other.uid != job.uid);
            format!("deletes Job {}; its pod runs on", job.uid)
        }
        (3, Some(job), _) if job.finished.is_none() && !job.suspended => {
            let _ = world.suspend(&job.name, &job.uid, &job.version.to_string(), true);
            format!("suspends Job {}", job.uid)
        }
        (4 | 5, _, Some(number)) => {
            world
                .pods
                .iter_mut()
                .filter(|pod| pod.number == number)
                .for_each(|pod| pod.deleting = true);
            format!("deletes pod {number}")
        }
        (6, ..) => {
            reboot(world, truth, random);
            "starts the node anew".into()
        }
        (7, ..) => {
            world.change_deployment(|deployment| {
                deployment["spec"]["replicas"] = 9.into();
                let generation = deployment["metadata"]["generation"].as_u64().unwrap_or(0);
                deployment["metadata"]["generation"] = (generation + 1).into();
            });
            "scales the Deployment".into()
        }
        (8, ..) => {
            world.objects.clear();
            "deletes the Deployment".into()
        }
        _ => "does nothing".into(),
    };
    world.collect();
    told
}
