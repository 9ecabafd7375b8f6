//! The API server's audit log: what Slipway asked for, in the order in which it was answered.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use jiff::Timestamp;
use serde_json::Value;
use slipway::api::meta::LOCK_HOLDER;

use super::bed_dir;

/// The user that Slipway is on the bed.
pub const SLIPWAY: &str = "system:serviceaccount:slipway-system:slipway";

fn file() -> PathBuf {
    bed_dir().join("logs/audit.log")
}

/// A moment in the log. The log of a whole run has tens of megabytes: who waits for something reads only what came since.
#[derive(Clone, Copy)]
pub struct Mark(u64);

impl Mark {
    /// The beginning of the log.
    pub fn start() -> Self {
        Self(0)
    }

    pub fn now() -> Self {
        Self(fs::metadata(file()).unwrap().len())
    }

    /// Requests of Slipway since then. Only lines with all of `words` are parsed.
    pub fn requests(self, words: &[&str]) -> Vec<Value> {
        let mut found = self.of_anyone(&[&[SLIPWAY], words].concat());
        found.retain(|event| event["user"]["username"] == SLIPWAY);
        found
    }

    /// What was logged since then.
    pub fn text(self) -> String {
        let mut log = fs::File::open(file()).unwrap();
        log.seek(SeekFrom::Start(self.0)).unwrap();
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn of_anyone(self, words: &[&str]) -> Vec<Value> {
        self.text()
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Requests of Slipway that would change something in a namespace, refused ones and dry runs too.
    pub fn mutations(self, namespace: &str) -> Vec<Value> {
        let word = format!("\"namespace\":\"{namespace}\"");
        let mut found = self.requests(&[word.as_str()]);
        found.retain(|event| mutates(event) && event["objectRef"]["namespace"] == namespace);
        found
    }

    /// Requests of Slipway that would change something for the releases of a namespace, by verb and resource: in the
    /// namespace, of the source that they come from, and of the locks of their migrations.
    pub fn cost(self, namespace: &str, source: &str) -> BTreeMap<String, usize> {
        let mut all = self.requests(&[]);
        all.retain(mutates);
        let lock_of = |event: &Value| {
            let lock = &event["responseObject"]["metadata"];
            let holder = lock["annotations"][LOCK_HOLDER].as_str()?;
            holder
                .starts_with(&format!("{namespace}/"))
                .then(|| lock["name"].clone())
        };
        let locks: Vec<Value> = all.iter().filter_map(lock_of).collect();
        let mut found = BTreeMap::new();
        for event in &all {
            let object = &event["objectRef"];
            let ours = object["namespace"] == namespace
                || (object["resource"] == "releasesources" && object["name"] == source)
                || (object["resource"] == "leases"
                    && locks.contains(&event["responseObject"]["metadata"]["name"]));
            if ours {
                let words = [&event["verb"], &object["resource"], &object["subresource"]];
                let words: Vec<&str> = words.iter().filter_map(|word| word.as_str()).collect();
                *found.entry(words.join(" ")).or_insert(0) += 1;
            }
        }
        found
    }

    /// Objects of a resource that Slipway created by a request of that name; what it applies is a patch.
    pub fn created(self, namespace: &str, resource: &str) -> Vec<Value> {
        let mut found = self.mutations(namespace);
        found.retain(|event| event["verb"] == "create" && wrote(event, resource));
        found
    }

    /// When and with which words a phase of a release was written into its status.
    pub fn told(self, namespace: &str, phase: &str) -> Vec<(Timestamp, String)> {
        let mut found = self.mutations(namespace);
        found.retain(|event| wrote(event, "releases") && event["objectRef"]["subresource"] == "status");
        let told = found.iter().filter_map(|event| {
            let status = &event["responseObject"]["status"];
            (status["phase"] == phase).then(|| {
                (
                    received(event),
                    status["message"].as_str().unwrap_or("").to_owned(),
                )
            })
        });
        told.collect()
    }

    /// Who held the lease of the controller after each write of it; nobody, where it was given back.
    pub fn holders(self) -> Vec<(Timestamp, String)> {
        let mut found = self.requests(&["\"name\":\"slipway-controller\"", "\"resource\":\"leases\""]);
        found.retain(|event| mutates(event) && wrote(event, "leases"));
        found
            .iter()
            .map(|event| {
                let holder = &event["responseObject"]["spec"]["holderIdentity"];
                (received(event), holder.as_str().unwrap_or("").to_owned())
            })
            .collect()
    }

    /// When the controller was taken away with all of its rights, and when it was installed again.
    pub fn uninstalled(self) -> Vec<(Timestamp, Timestamp)> {
        let mut found = self.of_anyone(&["\"namespace\":\"slipway-system\"", "\"resource\":\"deployments\""]);
        found.retain(|event| {
            event["objectRef"]["namespace"] == "slipway-system" && wrote(event, "deployments")
        });
        let is_end = |event: &Value| event["verb"] == "delete";
        let ends = found.iter().enumerate().filter(|(_, event)| is_end(event));
        ends.map(|(index, end)| {
            let again = found[index..]
                .iter()
                .find(|event| event["responseStatus"]["code"] == 201);
            (received(end), again.map_or(Timestamp::MAX, received))
        })
        .collect()
    }

    /// How often a source has begun to ask its repository: first thing, each time, it reads its own Secret.
    pub fn fetches(self, source: &str) -> usize {
        let secret = format!("git-{source}");
        let word = format!("\"name\":\"{secret}\"");
        self.requests(&[word.as_str()])
            .iter()
            .filter(|event| event["verb"] == "get" && event["objectRef"]["resource"] == "secrets")
            .filter(|event| event["objectRef"]["name"] == secret.as_str())
            .count()
    }
}

fn mutates(event: &Value) -> bool {
    ["create", "update", "patch", "delete"]
        .iter()
        .any(|verb| event["verb"] == *verb)
}

/// Whether the request changed an object of that resource.
fn wrote(event: &Value, resource: &str) -> bool {
    event["objectRef"]["resource"] == resource
        && event["responseStatus"]["code"]
            .as_i64()
            .is_some_and(|code| code < 300)
        && !event["requestURI"].as_str().unwrap_or("").contains("dryRun")
}

/// Writes of Slipway, oldest first; of all namespaces when none is named.
pub fn audit(namespace: &str) -> Vec<Value> {
    if namespace.is_empty() {
        let mut found = Mark::start().requests(&[]);
        found.retain(mutates);
        return found;
    }
    Mark::start().mutations(namespace)
}

/// Those that succeeded, of one resource.
pub fn writes(namespace: &str, resource: &str) -> Vec<Value> {
    let mut found = audit(namespace);
    found.retain(|event| wrote(event, resource));
    found
}

/// When the API server received a request.
pub fn received(event: &Value) -> Timestamp {
    event["requestReceivedTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}
