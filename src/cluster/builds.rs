//! The Jobs that build images: which there are, as a watch keeps them, and how far each is.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, LogParams},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher::{self, Event, watcher},
    },
};

mod booked;
mod ends;
mod pod;

pub use self::booked::Booked;
use self::{
    ends::Ends,
    pod::{Failing, between, by_pod, container, left, of_builder, one_line, stuck, told},
};
use super::{
    error::ClusterError,
    hash_key::HashKey,
    objects::{DEADLINE, found, within},
    observe,
};
use crate::{
    api::meta,
    build::{message::Message, progress},
    names::{Namespace, ReleaseId, Uid},
    plan::observed::{Again, BuildSeen, BuildState},
    render::{BUILD, FETCH, PROCESSES, PUSH, want},
    spec::redact,
    telemetry::Metrics,
};

/// As much of the end of a build's log as is read: what it does now, or what failed.
const TAIL: i64 = 64 << 10;
const LINES: i64 = 400;

/// How long a node may take to end a pod whose time is over.
const GRACE: Duration = Duration::from_secs(300);

/// The Jobs of the namespace for builds.
pub struct Builds {
    client: Client,
    namespace: Namespace,
    jobs: Store<Job>,
}

/// The Jobs, and the releases that wait for what changed of them. The stream is what keeps them: it must be polled.
pub fn builds(
    client: Client,
    call: Client,
    namespace: &Namespace,
    metrics: Arc<Metrics>,
) -> (Builds, impl Stream<Item = ReleaseId> + Send + use<>) {
    let (store, writer) = reflector::store();
    let api: Api<Job> = Api::namespaced(client, namespace.as_str());
    let config = watcher::Config::default().labels(meta::BUILD);
    let events = reflector::reflector(writer, watcher(api, config).default_backoff());
    let mut ends = Ends::default();
    let waiting = events.flat_map(move |event| {
        if let Ok(event) = &event {
            for end in ends.of(event) {
                metrics.built(end.word(), end.took());
            }
        }
        let of = match event {
            Ok(Event::Apply(job) | Event::InitApply(job) | Event::Delete(job)) => waiting(&job).collect(),
            Ok(Event::Init | Event::InitDone) => Vec::new(),
            Err(error) => {
                metrics.watch_failed("Job");
                tracing::warn!(error = %error, "the watch of builds failed; it starts again");
                Vec::new()
            }
        };
        futures::stream::iter(of)
    });
    let builds = Builds {
        client: call,
        namespace: namespace.clone(),
        jobs: store,
    };
    (builds, waiting)
}

/// The releases that wait for a Job.
pub fn waiting(job: &Job) -> impl Iterator<Item = ReleaseId> + '_ {
    let wants = job
        .annotations()
        .iter()
        .filter(|(name, _)| name.starts_with(meta::WANT));
    wants.filter_map(|(_, id)| {
        let (namespace, name) = id.split_once('/')?;
        Some(ReleaseId {
            namespace: namespace.parse().ok()?,
            name: name.parse().ok()?,
        })
    })
}

impl Builds {
    /// The namespace of the Jobs.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// All of them, as the watch has them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Job>> {
        self.jobs.state()
    }

    /// The builds that a release waits for, all others of their keys, which other releases may have begun since, and all of
    /// one key.
    ///
    /// # Errors
    /// The first list has not come, or a question about the pod of one of them was not answered.
    pub async fn of(
        &self,
        id: &ReleaseId,
        key: Option<&str>,
        hashes: &HashKey,
        now: Timestamp,
    ) -> Result<Vec<BuildSeen>, ClusterError> {
        match tokio::time::timeout(DEADLINE, self.jobs.wait_until_ready()).await {
            Ok(Ok(())) => {}
            _ => {
                return Err(ClusterError::TimedOut {
                    attempted: format!("list the Jobs of {}", self.namespace),
                });
            }
        }
        let want = want(id);
        let mut seen = Vec::new();
        for job in concerning(&self.jobs.state(), &want, key) {
            if let Some(mut build) = facts(job, &want) {
                (build.state, build.warned) = self.look(job, hashes, now).await?;
                seen.push(build);
            }
        }
        Ok(seen)
    }

    /// How far a Job is.
    ///
    /// # Errors
    /// A question about its pod was not answered.
    pub async fn state_of(
        &self,
        job: &Job,
        hashes: &HashKey,
        now: Timestamp,
    ) -> Result<BuildState, ClusterError> {
        Ok(self.look(job, hashes, now).await?.0)
    }

    /// How far a Job is, and what was found in its source.
    async fn look(
        &self,
        job: &Job,
        hashes: &HashKey,
        now: Timestamp,
    ) -> Result<(BuildState, Vec<String>), ClusterError> {
        if let Some((false, since)) = ended(job)
            && let Some(booked) = Booked::of(job)
        {
            let over_for = since.map(|since| elapsed(since, now)).unwrap_or_default();
            return Ok((booked.state(over_for), Vec::new()));
        }
        let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
        let uid: Uid = uid
            .parse()
            .map_err(|error| ClusterError::Unreadable(format!("the UID of Job {name}: {error}")))?;
        let pod = self.pod(&name, uid.as_str()).await?;
        let end = ended(job);
        let warned = pod.as_ref().and_then(|pod| match left(pod, FETCH)? {
            Message::Fetched { warned } => Some(warned),
            _ => None,
        });
        let state = match (end, pod) {
            (Some((true, _)), pod) => {
                BuildState::Pushed(pod.as_ref().and_then(|pod| match left(pod, PUSH)? {
                    Message::Pushed { digest } => Some(digest),
                    _ => None,
                }))
            }
            (Some((false, since)), pod) => {
                let failing = match &pod {
                    Some(pod) => match self.failing(pod, hashes).await {
                        Ok(failing) => failing,
                        // Its node does not answer, or the API server does not say what must not be kept of the log. What the log
                        // says decides whether it is done again: it is waited for, as long as the pod is there.
                        Err(error) => return Ok((unread(&error, since, now), Vec::new())),
                    },
                    None => Failing::later("its pod is gone, and nobody saw how it ended".to_owned()),
                };
                BuildState::Failed {
                    sentence: failing.sentence,
                    tail: failing.tail,
                    again: failing.again,
                    over_for: since.map(|since| elapsed(since, now)).unwrap_or_default(),
                }
            }
            (None, Some(pod)) => self.running(&pod, now).await?,
            (None, None) => {
                BuildState::Waiting(observe::blocked(&self.client, &self.namespace, &name, &uid).await?)
            }
        };
        Ok((state, warned.unwrap_or_default()))
    }

    /// How many processes a pod may have, as the Job that tries the builder counted them: how many ran, and whether one more was
    /// refused. `None` while that is not known, and where its pod is gone.
    ///
    /// # Errors
    /// A question about its pod was not answered.
    pub async fn processes(&self, job: &Job) -> Result<Option<(u32, bool)>, ClusterError> {
        let pod = self.pod(&job.name_any(), &job.uid().unwrap_or_default()).await?;
        let counted = pod.and_then(|pod| left(&pod, PROCESSES));
        Ok(match counted {
            Some(Message::Processes { count, bounded }) => Some((count, bounded)),
            _ => None,
        })
    }

    /// The newest pod of a Job.
    async fn pod(&self, name: &str, uid: &str) -> Result<Option<Pod>, ClusterError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace.as_str());
        let params = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
        let attempted = || format!("list the pods of Job {name} in {}", self.namespace);
        let mut pods = within(attempted, api.list(&params)).await?.items;
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        Ok(pods.pop())
    }

    /// What it does now.
    async fn running(&self, pod: &Pod, now: Timestamp) -> Result<BuildState, ClusterError> {
        let status = |name: &str| container(pod, name).and_then(|status| status.state.as_ref());
        let runs = |name: &str| status(name).is_some_and(|state| state.running.is_some());
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let running_for = started.map(|time| elapsed(time.0, now)).unwrap_or_default();
        if let Some(over_for) = overdue(pod, running_for) {
            return Ok(BuildState::Failed {
                sentence: "its node has not ended it when its time was over: it is gone, or does not answer"
                    .to_owned(),
                tail: String::new(),
                again: Again::AfterPause,
                over_for,
            });
        }
        let doing = if runs(BUILD) {
            match self.log(pod, BUILD).await {
                Ok(log) => redact::redact(&progress::doing(&log), &[]),
                // What it does is only told: whoever waits for it has other things to do meanwhile.
                Err(_) => "its node does not show what it does".to_owned(),
            }
        } else if let Some(doing) = between(status, stuck(pod).is_some()) {
            doing.to_owned()
        } else {
            return Ok(BuildState::Waiting(stuck(pod)));
        };
        Ok(BuildState::Running { doing, running_for })
    }

    /// What failed.
    async fn failing(&self, pod: &Pod, hashes: &HashKey) -> Result<Failing, ClusterError> {
        if let Some(failing) = by_pod(pod) {
            return Ok(failing);
        }
        let ended = |name: &str| {
            let ended = container(pod, name)?.state.as_ref()?.terminated.as_ref()?;
            (ended.exit_code != 0).then_some(ended)
        };
        if let Some(failing) = told(|name| left(pod, name)) {
            return Ok(failing);
        }
        if let Some(ended) = ended(BUILD) {
            let log = self.log(pod, BUILD).await?;
            let log = observe::log_of_build(&self.client, &self.namespace, hashes, pod, &log).await?;
            return Ok(of_builder(&log, ended));
        }
        let ended = [FETCH, PUSH, PROCESSES]
            .into_iter()
            .find_map(|name| Some((name, ended(name)?)));
        Ok(Failing::later(if let Some((name, ended)) = ended {
            let words = ended.reason.clone().unwrap_or_default();
            format!(
                "its container {name} ended with exit code {} ({words})",
                ended.exit_code
            )
        } else {
            let status = pod.status.clone().unwrap_or_default();
            let words = [status.reason, status.message]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ");
            let why = stuck(pod).unwrap_or_else(|| one_line(&words));
            format!("its pod failed: {why}")
        }))
    }

    /// The end of a container's log; empty where it cannot be read any more.
    async fn log(&self, pod: &Pod, container: &str) -> Result<String, ClusterError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace.as_str());
        let name = pod.name_any();
        let params = LogParams {
            container: Some(container.to_owned()),
            tail_lines: Some(LINES),
            ..LogParams::default()
        };
        let attempted = || format!("read the log of pod {name} in {}", self.namespace);
        let log = match within(attempted, api.logs(&name, &params)).await {
            Err(error) if error.is_refused() => None,
            read => found(read)?,
        };
        let mut log = log.unwrap_or_default();
        let most = usize::try_from(TAIL).unwrap_or(usize::MAX);
        if let Some(mut from) = log.len().checked_sub(most) {
            while !log.is_char_boundary(from) {
                from += 1;
            }
            log.drain(..from);
        }
        Ok(log)
    }
}

/// How long a node has had to end a pod whose time is over, where that is too long.
fn overdue(pod: &Pod, running_for: Duration) -> Option<Duration> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let allowed = Duration::from_secs(u64::try_from(seconds).ok()?) + GRACE;
    running_for.checked_sub(allowed).filter(|over| !over.is_zero())
}

/// A build that is over, of which nobody can read yet how it ended.
fn unread(error: &ClusterError, since: Option<Timestamp>, now: Timestamp) -> BuildState {
    tracing::debug!(error = %error.sentence(), "the log of a build that failed cannot be read");
    BuildState::Running {
        doing: "it failed, and how cannot be read yet".to_owned(),
        running_for: since.map(|since| elapsed(since, now)).unwrap_or_default(),
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> std::time::Duration {
    // A clock that is behind has seen nothing of it yet.
    now.duration_since(since).try_into().unwrap_or_default()
}

/// The Jobs whose key is this one, or that of a Job with this label.
fn concerning<'a>(jobs: &'a [Arc<Job>], want: &str, key: Option<&'a str>) -> Vec<&'a Arc<Job>> {
    let of = |job: &'a Arc<Job>| job.labels().get(meta::BUILD).map(String::as_str);
    let there = || {
        jobs.iter()
            .filter(|job| job.metadata.deletion_timestamp.is_none())
    };
    let mut keys: BTreeSet<&str> = key.into_iter().collect();
    keys.extend(
        there()
            .filter(|job| job.labels().contains_key(want))
            .filter_map(of),
    );
    there()
        .filter(|job| of(job).is_some_and(|key| keys.contains(key)))
        .collect()
}

/// What its labels and annotations tell; `None` of what is no build of ours.
fn facts(job: &Job, want: &str) -> Option<BuildSeen> {
    let (labels, annotations) = (job.labels(), job.annotations());
    let name = job.name_any();
    let all: BTreeSet<&String> = labels
        .keys()
        .filter(|label| label.starts_with(meta::WANT))
        .collect();
    let wanted = labels.get(want).map(|attempt| attempt.parse().unwrap_or(0));
    let run = name.rsplit('-').next()?.parse().ok()?;
    let tries = annotations.get(meta::TRIES).and_then(|tries| tries.parse().ok());
    Some(BuildSeen {
        run,
        tries: tries.unwrap_or(run),
        uid: job.metadata.uid.as_deref()?.parse::<Uid>().ok()?,
        resource_version: job.metadata.resource_version.clone()?,
        key: labels.get(meta::BUILD)?.clone(),
        inputs: labels.get(meta::BUILD_INPUTS)?.clone(),
        commit: annotations.get(meta::SOURCE_COMMIT)?.parse().ok()?,
        larger: annotations.contains_key(meta::LARGER),
        timeout: time_of(job),
        booked: annotations.contains_key(meta::FAILED),
        wanted,
        others: all.len() - usize::from(wanted.is_some()),
        state: BuildState::Waiting(None),
        warned: Vec::new(),
        job: name,
    })
}

/// How long its pod may run.
fn time_of(job: &Job) -> Duration {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let seconds = pod.and_then(|pod| pod.active_deadline_seconds);
    Duration::from_secs(
        seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(0),
    )
}

/// Whether a Job has succeeded or failed, and since when.
fn ended(job: &Job) -> Option<(bool, Option<Timestamp>)> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .filter(|condition| condition.status == "True")
        .find_map(|condition| {
            let since = condition.last_transition_time.as_ref().map(|time| time.0);
            match condition.type_.as_str() {
                "Complete" => Some((true, since)),
                "Failed" => Some((false, since)),
                _ => None,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_began_of_a_key_that_a_release_waits_for_concerns_it() {
        let job = |name: &str, key: &str, want: &str| {
            let labels = serde_json::json!({ (meta::BUILD): key, (want): "0" });
            let job = serde_json::json!({ "metadata": { "name": name, "labels": labels } });
            Arc::new(serde_json::from_value::<Job>(job).unwrap())
        };
        let jobs = [
            job("own", "a", "mine"),
            job("begun-again-by-others", "a", "theirs"),
            job("of-another-key", "b", "theirs"),
        ];
        let names = |key: Option<&'static str>| -> Vec<String> {
            concerning(&jobs, "mine", key)
                .into_iter()
                .map(|job| job.name_any())
                .collect()
        };
        assert_eq!(names(None), ["own", "begun-again-by-others"]);
        assert_eq!(names(Some("b")).len(), 3);
    }
}
