//! One release, who brings it about, and the judgement over it.

use std::{collections::BTreeMap, fs, sync::Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use slipway::{
    api::meta::{COMMIT, LOCK_HOLDER, REVISION},
    trace::{Coverage, Invariant},
};

use super::super::support::{
    Case, Mark, Outside, Part, Repo, Rights, bed_dir, create, delete, get, is_true, kubectl, list, migrating,
    received, script, secret, values, wait_telling,
};

/// The Secret by which all of them reach their repositories.
const GIT: &str = "git-crash";

/// By this label the namespaces and sources of an earlier run are found.
const LABEL: &str = "bed.test/crashes";

/// A place for one release at a time: a database, ports, and names in the logs.
pub struct Place<'a> {
    rights: &'a Rights,
    pub number: u16,
    database: String,
}

impl Place<'_> {
    /// The binary, which does not run yet. `which` is 0 or 1: the first or the second one of the place.
    pub fn outside(&self, namespace: &str, name: &str, which: u16) -> Outside {
        let port = 18500 + 4 * self.number + 2 * which;
        let of = Part {
            name,
            namespace,
            ports: [port, port + 1],
        };
        Outside::part(self.rights, of)
    }
}

/// So many of them.
pub fn places(rights: &Rights, count: u16) -> Vec<Place<'_>> {
    clear();
    let password = bed_dir().join("secrets/git-password");
    let credentials = [
        "--from-literal=username=slipway".to_owned(),
        format!("--from-file=password={}", password.display()),
    ];
    let value = fs::read_to_string(&password).unwrap();
    values::remember("the password of git", value.trim().as_bytes());
    let [username, password] = &credentials;
    kubectl(&[
        "-n",
        "slipway-system",
        "create",
        "secret",
        "generic",
        GIT,
        username,
        password,
    ]);
    let place = |number| Place {
        rights,
        number,
        database: script("db-new", &[&format!("db_crash_{number}")])
            .trim()
            .to_owned(),
    };
    (0..count).map(place).collect()
}

/// What an earlier run on the same bed left.
fn clear() {
    let label = format!("--selector={LABEL}");
    kubectl(&["delete", "releasesources", &label]);
    kubectl(&["delete", "namespaces", &label, "--timeout=300s"]);
    for lease in list("lease", "slipway-system", "") {
        let name = lease["metadata"]["name"].as_str().unwrap();
        if name.starts_with("slipway-lock-") {
            delete("lease", "slipway-system", name);
        }
    }
    kubectl(&[
        "-n",
        "slipway-system",
        "delete",
        "secret",
        GIT,
        "--ignore-not-found",
    ]);
}

/// One release under test, and who brings it about.
pub struct Trial<'a> {
    pub case: Case,
    pub place: &'a Place<'a>,
    pub one: Outside,
    since: Mark,
}

impl<'a> Trial<'a> {
    pub fn new(name: &str, place: &'a Place<'a>) -> Self {
        let since = Mark::now();
        let found_again = json!({ "name": name, "labels": { (LABEL): "" } });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": found_again });
        create("namespace", "", &namespace);
        secret(name, "app-db", &[("url", &place.database)]);
        let repo = Repo::new(name);
        repo.write("base/app.yaml", &base(name));
        let source = json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "ReleaseSource", "metadata": found_again,
            "spec": {
                "git": { "url": format!("https://git.bed.test/{name}.git"), "secret": GIT },
                "paths": ["base", "production"], "interval": "1s", "namespaces": [name],
            },
        });
        create("releasesource", "", &source);
        let (ns, source) = (name.to_owned(), name.to_owned());
        Self {
            case: Case { ns, repo, source },
            place,
            one: place.outside(name, "one", 0),
            since,
        }
    }

    /// Whether the version of the newest commit is live, and the source says that it has applied that commit.
    pub fn is_live(&self, version: &str, commit: &str) -> bool {
        let release = self.case.release();
        let status = &release["status"];
        let source = get("releasesource", "", &self.case.source).unwrap_or(Value::Null);
        status["phase"] == "Live"
            && status["declaredVersion"] == version
            && status["observedGeneration"] == release["metadata"]["generation"]
            && release["metadata"]["annotations"][COMMIT] == commit
            && source["status"]["appliedCommit"] == commit
    }

    /// Waits for a state of the trial that holds at two looks, between which nobody has written.
    pub fn until(&self, what: &str, who: &[&Outside], mut holds: impl FnMut() -> bool) {
        let mut before = None;
        let state = || {
            let processes: Vec<_> = who.iter().map(|each| each.process()).collect();
            format!("{}; {processes:?}", self.case.state())
        };
        wait_telling(&format!("{}: {what}", self.case.ns), state, || {
            let held = holds();
            let now = held.then(|| {
                who.iter()
                    .map(|each| each.process().wrote.len())
                    .collect::<Vec<_>>()
            });
            let twice = now.is_some() && now == before;
            before = now;
            twice.then_some(())
        });
    }

    pub fn rests(&self, who: &Outside) -> bool {
        who.process().rests(&self.case.ns, GIT)
    }

    /// What Slipway has asked for in this trial.
    pub fn mutations(&self) -> Vec<Value> {
        self.since.mutations(&self.case.ns)
    }

    /// What the audit log has of this trial, which made its own lock. Those beside it have most of the lines.
    fn log(&self) -> String {
        let mut words: Vec<String> = self.locks();
        words.push(self.case.ns.clone());
        let text = self.since.text();
        let ours = |line: &&str| words.iter().any(|word| line.contains(word));
        text.lines().filter(ours).collect::<Vec<_>>().join("\n")
    }

    /// The locks of its migrations.
    fn locks(&self) -> Vec<String> {
        let entries = self.entries();
        let locks = entries.iter().filter_map(|entry| entry["lock"].as_str());
        locks.map(str::to_owned).collect()
    }

    /// What is booked.
    fn entries(&self) -> Vec<Value> {
        let ledger = get("configmap", &self.case.ns, "app-ledger").unwrap();
        let entries = ledger["data"].as_object().unwrap().values();
        entries
            .map(|entry| serde_json::from_str(entry.as_str().unwrap()).unwrap())
            .collect()
    }

    /// Ends the process, and takes away what it has made; the lock too, so that the next trial makes its own.
    pub fn end(self) {
        let locks = self.locks();
        drop(self.one);
        for lock in locks {
            delete("lease", "slipway-system", &lock);
        }
        delete("releasesource", "", &self.case.source);
        delete("namespace", "", &self.case.ns);
    }
}

/// Nothing here is about how long something takes.
fn base(ns: &str) -> String {
    let base = migrating(ns, &format!(", RELEASE: {ns}, DRAIN_SECONDS: '0'")) + "  replicas: 1\n";
    let short = base
        .replace("drain: 5s, deadline: 4m", "drain: 1s, deadline: 10m")
        .replace("window: 2s", "window: 1s");
    assert!(short.contains("10m") && short.contains("window: 1s"), "{short}");
    short
}

// === the judgement ===

fn accepted(event: &Value) -> bool {
    event["responseStatus"]["code"]
        .as_i64()
        .is_some_and(|code| code < 300)
        && !event["requestURI"].as_str().unwrap_or("").contains("dryRun")
}

/// How many objects of each resource came to be in the namespace, by whatever request. An event is told once more where
/// the one who told it died before it knew that.
fn creations(events: &[Value]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for event in events.iter().filter(|event| accepted(event)) {
        let resource = event["objectRef"]["resource"].as_str().unwrap_or("");
        if event["responseStatus"]["code"] == 201 && resource != "events" {
            *found.entry(resource.to_owned()).or_insert(0) += 1;
        }
    }
    found
}

/// When the runs of the release ended, in their order; each began once and ended once, after the one before had ended.
fn ends(case: &Case, versions: &[&str]) -> Vec<Timestamp> {
    let query = format!(
        "select version, event, (extract(epoch from at) * 1000000)::bigint from slipway_runs where release = '{}' order by at",
        case.ns
    );
    let table = case.sql(&query);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('|').collect()).collect();
    let words: Vec<(&str, &str)> = rows.iter().map(|row| (row[0], row[1])).collect();
    let expected: Vec<(&str, &str)> = versions
        .iter()
        .flat_map(|version| [(*version, "start"), (*version, "end")])
        .collect();
    assert_eq!(words, expected, "{}: each migration ran once", case.ns);
    let ends = rows.iter().filter(|row| row[1] == "end");
    ends.map(|row| Timestamp::from_microsecond(row[2].parse().unwrap()).unwrap())
        .collect()
}

impl Trial<'_> {
    /// The state that every trial must reach, whatever was done to those who bring it about: what objects came to be.
    pub fn judge(&self, versions: &[&str], covered: &Mutex<Judged>) -> BTreeMap<String, usize> {
        let case = &self.case;
        let events = self.mutations();
        let ends = ends(case, versions);
        for (index, end) in ends.iter().enumerate() {
            let writes = events.iter().filter(|event| {
                let template = &event["responseObject"]["spec"]["template"]["metadata"]["annotations"];
                let number = (index + 1).to_string();
                event["objectRef"]["resource"] == "deployments"
                    && accepted(event)
                    && template[REVISION] == number
            });
            let first = writes.map(received).min();
            let first = first.unwrap_or_else(|| panic!("{}: v{} was rolled out", case.ns, index + 1));
            assert!(
                first >= *end,
                "{}: the Deployment of v{} was written at {first}, and its migration ended at {end}",
                case.ns,
                index + 1
            );
        }
        let states: Vec<Value> = self
            .entries()
            .iter()
            .map(|entry| entry["state"].clone())
            .collect();
        assert_eq!(states, vec!["succeeded"; versions.len()], "{}", case.ns);
        let held: Vec<Value> = list("lease", "slipway-system", "")
            .iter()
            .map(|lease| lease["metadata"]["annotations"][LOCK_HOLDER].clone())
            .filter(|holder| {
                holder
                    .as_str()
                    .is_some_and(|holder| holder.starts_with(&format!("{}/", case.ns)))
            })
            .collect();
        let mut open = case.jobs();
        open.retain(|job| !is_true(job, "Complete") && job["metadata"]["deletionTimestamp"].is_null());
        assert!(
            open.is_empty(),
            "{}: no Job is left that did not end: {open:?}",
            case.ns
        );
        assert!(held.is_empty(), "{}: the lock was given back: {held:?}", case.ns);
        let (events_judged, coverage) = case.judged(&self.log());
        values::judge(&case.ns);
        let mut covered = covered.lock().unwrap();
        covered.trials += 1;
        covered.events += events_judged;
        covered.coverage.add(&coverage);
        creations(&events)
    }
}

/// What the invariants were tested on, in all trials.
#[derive(Default)]
pub struct Judged {
    trials: usize,
    events: usize,
    coverage: Coverage,
}

impl Judged {
    /// What a sweep was judged by; each of its trials had a migration that ran, and a rollout after it.
    pub fn told(&self) -> String {
        let Self {
            trials,
            events,
            coverage,
        } = self;
        assert!(*trials > 0, "nothing was judged");
        for invariant in [Invariant::S2, Invariant::S3] {
            let instances = coverage.instances(invariant);
            assert!(
                instances >= *trials,
                "{invariant}: {instances} instances in {trials} trials"
            );
        }
        format!("{trials} trials, {events} events judged: {coverage}")
    }
}
