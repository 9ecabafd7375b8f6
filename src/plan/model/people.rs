//! What people do: commits, Secrets, images, and hands on the cluster.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::json;

use super::{
    super::{
        fixtures::{DATABASE, digest, id, objects, rehash, uid},
        ledger::EntryState,
        observed::LiveObject,
    },
    cluster::{evict, reboot},
    outside::{self, TAGGED},
    random::Random,
    rendered::deployment_key,
    truth::Truth,
    world::{Said, World, rv},
};
use crate::{
    api::release::OnFailure,
    names::RevisionNumber,
    spec::{Declared, declared::Suspension},
};

/// A commit.
pub fn commit(world: &mut World, random: &mut Random) -> String {
    let mut next = Declared::clone(&world.declared);
    let mut said = Said::Valid;
    let told = match random.below(16) {
        0..5 => {
            // Forward, or back to what was.
            let version = u32::try_from(1 + random.below(5)).unwrap();
            next = Declared {
                attempt: next.attempt,
                processes: next.processes,
                rotate: next.rotate,
                adopt: next.adopt,
                ..outside::declared(version)
            };
            let compatible = [None, None, Some(false), Some(true)][random.below(4)];
            let retries = [0, 0, 1][random.below(3)];
            if let Some(migrate) = &mut next.migrate {
                migrate.compatible = compatible;
                migrate.retries = retries;
            }
            if random.percent(15) {
                next.on_failure = OnFailure::Hold;
            }
            format!("commits version {version}, compatible: {compatible:?}, retries: {retries}")
        }
        5 | 6 => {
            next.attempt += 1;
            format!("commits attempt {}", next.attempt)
        }
        7 | 8 => {
            let replicas = u32::try_from(1 + random.below(3)).unwrap();
            next.processes
                .values_mut()
                .for_each(|process| process.replicas = replicas);
            format!("commits {replicas} replicas")
        }
        9 => {
            let Some(migrate) = &mut next.migrate else {
                return "commits nothing".into();
            };
            migrate.rerun += 1;
            format!("commits rerun {}", migrate.rerun)
        }
        10 => {
            next.rotate += 1;
            format!("commits rotate {}", next.rotate)
        }
        11 => {
            next.adopt += 1;
            format!("commits adopt {}", next.adopt)
        }
        12 => {
            next.suspend = match next.suspend {
                None => Some(Suspension {
                    reason: "a freeze".into(),
                    until: None,
                }),
                Some(_) => None,
            };
            format!("commits suspend: {}", next.suspend.is_some())
        }
        13 => {
            said = random.one_of(&[
                (2, Said::NoVersion),
                (2, Said::Invalid),
                (1, Said::Edited),
                (2, Said::Removing),
            ]);
            format!("says {said:?}")
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
    rehash(&mut next);
    world.bump();
    world.generation += 1;
    world.said = said;
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

/// What changes outside of the cluster, and in Secrets.
pub fn outside(world: &mut World, random: &mut Random) -> String {
    let tag = format!("{TAGGED}.0.0");
    match random.below(8) {
        0..3 => {
            let number = TAGGED * 10 + u32::try_from(random.below(3)).unwrap();
            world.change_outside(|outside| {
                outside.tags.insert(tag, number);
            });
            format!("pushes image {number} as the tag of version {TAGGED}")
        }
        3 => {
            world.change_outside(|outside| outside.registry_down = !outside.registry_down);
            "the registry goes, or comes back".into()
        }
        4 | 5 => {
            world.change_outside(|outside| outside.password = outside.password.map(|before| before + 1));
            "rotates the password".into()
        }
        6 => {
            world.change_outside(|outside| {
                outside.password = match outside.password {
                    Some(_) => None,
                    None => Some(1),
                };
            });
            "takes the Secret away, or brings it".into()
        }
        _ => {
            world.change_outside(|outside| outside.hash_key += 1);
            "loses the key of hashes".into()
        }
    }
}

/// Hands on the cluster. Nobody takes the ledger away: together with a Job that runs nothing would be left to tell of it.
pub fn meddle(world: &mut World, truth: &mut Truth, random: &mut Random) -> String {
    let job = random.pick(&world.jobs).cloned();
    let pod = random.pick(&world.pods).map(|pod| pod.number);
    let told = match (random.below(14), job, pod) {
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
            let _ = world.suspend(&job.name, &job.uid, None, true);
            format!("suspends Job {}", job.uid)
        }
        (4 | 5, _, Some(number)) => {
            world.change_pod(number, |pod| pod.deleting = true);
            format!("deletes pod {number}")
        }
        (6, _, Some(number)) => {
            world.change_pod(number, |pod| {
                pod.deleting = true;
                pod.disrupted = true;
            });
            format!("evicts pod {number}")
        }
        (7, _, Some(number)) => {
            evict(world, truth, number);
            format!("the disk is full, and pod {number} goes")
        }
        (8, ..) => {
            reboot(world, truth, random);
            "starts the node anew".into()
        }
        (9 | 10, ..) => {
            world.change_deployment(|deployment| {
                deployment["spec"]["replicas"] = 9.into();
                let generation = deployment["metadata"]["generation"].as_u64().unwrap_or(0);
                deployment["metadata"]["generation"] = (generation + 1).into();
            });
            "scales the Deployment".into()
        }
        (11, ..) => {
            world.objects.clear();
            "deletes the Deployment".into()
        }
        (12, ..) => stranger(world, random),
        (13, ..) if random.percent(50) => {
            world.revisions.clear();
            "deletes every revision".into()
        }
        _ => "does nothing".into(),
    };
    world.collect();
    told
}

/// Somebody makes a Deployment under the name of the release, in place of what there is.
fn stranger(world: &mut World, random: &mut Random) -> String {
    let version = world.bump();
    let made = outside::declared(1);
    let mut rendered = objects(&made, &digest(9), RevisionNumber(0));
    let Some(mut value) = rendered.pop().map(|object| object.value) else {
        return "does nothing".into();
    };
    let same = random.percent(70);
    value["metadata"] = json!({
        "name": id().name.as_str(), "namespace": id().namespace.as_str(), "generation": 1,
        "managedFields": [{"manager": "helm", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {}}}],
    });
    value["spec"]["template"]["metadata"] = json!({});
    if !same {
        value["spec"]["selector"] = json!({"matchLabels": {"app": "billing"}});
    }
    let live = LiveObject {
        uid: uid(&format!("uid-{version}")),
        resource_version: rv(version),
        value,
    };
    world.objects = BTreeMap::from([(deployment_key(), Rc::new(live))]);
    format!("puts a Deployment of their own in its place, selector: {same}")
}
