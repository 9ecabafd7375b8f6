//! What is true of each moment, as the script notes it: what is declared by what it commits, what runs by the pods.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    NS,
    script::{
        Comes::{self, MigrationFails, Overtaken, RollsBack},
        Does::{self, App, Break, Mend, Merge, Remove, Revert, Second, Words},
        IMAGES, TAGS,
        Who::{self, Ada, Dana},
    },
};
use crate::support::{Case, get, is_true, kubectl, list, script, wait, wait_telling};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub version: String,
    pub image: String,
    pub commit: String,
    pub author: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub revision: i64,
    pub outcome: &'static str,
    pub migration: &'static str,
}

/// What runs: its version by the script, its digest by its pods or its Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub version: String,
    pub digest: String,
    pub attempt: Attempt,
}

/// What is true of a release at a moment.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    pub declared: Option<Declared>,
    pub running: Option<Running>,
    /// What became of what is declared; `None` while that is on its way.
    pub became: Option<Attempt>,
    /// The newest revision.
    pub newest: i64,
    /// The newest one when it was removed: what of those runs again once it is declared again is on no record.
    pub buried: i64,
}

pub type Truths = BTreeMap<&'static str, Truth>;

pub struct Told {
    pub case: Case,
    /// The second of the last commit or look: the next commit comes in a later one.
    last: i64,
    pub commits: usize,
    /// What the layer of `app` said, commit by commit.
    layers: Vec<(&'static str, &'static [&'static str])>,
    truths: Truths,
    pub moments: Vec<(Timestamp, Truths)>,
    /// How each revision of `app` ended.
    pub attempts: BTreeMap<i64, (String, Attempt)>,
}

fn base(name: &str) -> String {
    format!(
        "apiVersion: slipway.dev/v1alpha1
kind: Release
metadata: {{name: {name}, namespace: {NS}}}
spec:
  image: {IMAGES}
  port: 8080
  health: /health
  env: {{DATABASE_URL: {{secret: app-db/url}}}}
  rollout: {{minReady: 1s, drain: 1s, deadline: 60s}}
  verify: {{window: 1s}}
"
    )
}

fn layer(name: &str, version: &str, more: &[&str]) -> String {
    let replicas = if more.iter().any(|line| line.starts_with("replicas:")) {
        ""
    } else if name == "app" {
        "  replicas: 1\n"
    } else {
        "  replicas: 0\n"
    };
    let more: String = more.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: {name}, namespace: {NS}}}\nspec:\n  version: {version}\n{replicas}{more}"
    )
}

/// What the migration of a layer comes to.
fn migration_of(more: &[&str]) -> &'static str {
    let has = |word: &str| more.iter().any(|line| line.contains(word));
    if has("/app/bin/migrate") {
        "succeeded"
    } else if has("exit 7") {
        "failed"
    } else {
        "none"
    }
}

fn number(name: &Value) -> i64 {
    let name = name.as_str().unwrap_or_default();
    name.rsplit_once("-v").unwrap().1.parse().unwrap()
}

impl Told {
    pub fn new() -> Self {
        // One after the other: two at once make the registry forget layers that both have.
        for (from, to) in TAGS {
            let from = format!("registry.bed.test:5000/acme/probe:{from}");
            let to = format!("registry.bed.test:5000/acme/{to}");
            script("image-push", &[&from, &to]);
        }
        let case = Case::new(NS, &base("app"));
        case.repo.write("base/second.yaml", &base("second"));
        case.repo.write("production/README.md", "what production runs\n");
        let often = json!({"spec": {"interval": "1s"}}).to_string();
        kubectl(&["patch", "releasesource", NS, "--type=merge", "-p", &often]);
        Self {
            case,
            last: 0,
            commits: 0,
            layers: Vec::new(),
            truths: [("app", Truth::default()), ("second", Truth::default())].into(),
            moments: Vec::new(),
            attempts: BTreeMap::new(),
        }
    }

    /// Commits what lies there, in a second of its own.
    fn commit(&mut self, who: Who, run: &[&str]) -> String {
        let last = self.last;
        wait("another second", || {
            (Timestamp::now().as_second() > last).then_some(())
        });
        let (name, mail) = who.name();
        let repo = &self.case.repo;
        repo.git(&["add", "-A"]);
        let (name, mail) = (format!("user.name={name}"), format!("user.email={mail}"));
        repo.git(&[&["-c", &name, "-c", &mail], run].concat());
        self.commits += 1;
        self.last = repo.git(&["log", "-1", "--format=%ct"]).trim().parse().unwrap();
        repo.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// The commit that says what is new, after it was pushed.
    fn commits(&mut self, who: Who, does: Does) -> String {
        let message = format!("commit {}", self.commits + 1);
        let plain = ["commit", "--quiet", "--allow-empty", "-m", &message];
        let repo = &self.case.repo;
        let says = match does {
            Words => {
                repo.write("README.md", &message);
                self.commit(who, &plain)
            }
            App(version, more) => {
                repo.write("production/app.yaml", &layer("app", version, more));
                self.layers.push((version, more));
                self.commit(who, &plain)
            }
            Merge(version, more) => {
                repo.git(&["checkout", "--quiet", "-b", "side"]);
                repo.write("production/app.yaml", &layer("app", version, more));
                self.layers.push((version, more));
                let other = if who == Dana { Ada } else { Dana };
                let says = self.commit(other, &plain);
                self.case.repo.git(&["checkout", "--quiet", "main"]);
                self.commit(who, &["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
                says
            }
            Revert => {
                self.layers.pop();
                self.commit(who, &["revert", "--no-edit", "HEAD"])
            }
            Break => {
                repo.write("production/app.yaml", "metadata: [\n");
                self.commit(who, &plain)
            }
            Mend => {
                let (version, more) = *self.layers.last().unwrap();
                let text = layer("app", version, more) + "# as it was\n";
                repo.write("production/app.yaml", &text);
                self.commit(who, &plain)
            }
            Second(version) => {
                repo.write("production/second.yaml", &layer("second", version, &[]));
                self.commit(who, &plain)
            }
            Remove => {
                repo.git(&["rm", "--quiet", "production/second.yaml"]);
                self.commit(who, &plain)
            }
        };
        self.case.repo.push("main");
        says
    }

    /// Whether the last layer of `app` says nothing that the one before it did not say.
    fn says_the_same(&self) -> bool {
        let plain = |(version, more): &(&'static str, &'static [&'static str])| {
            let mut lines = more.to_vec();
            lines.retain(|line| !line.starts_with('#'));
            (*version, lines)
        };
        let mut layers = self.layers.iter().rev().map(plain);
        let last = layers.next();
        last.is_some() && last == layers.next()
    }

    fn truth(&mut self, name: &'static str) -> &mut Truth {
        self.truths.get_mut(name).unwrap()
    }

    /// Notes what is declared from this commit on.
    fn declares(&mut self, name: &'static str, commit: &str, who: Who, version: &str, more: &[&str]) {
        let image = more.iter().find_map(|line| line.strip_prefix("image: "));
        let image = format!("{}:{version}", image.unwrap_or(IMAGES));
        let truth = self.truth(name);
        let same = truth
            .declared
            .as_ref()
            .is_some_and(|declared| (declared.version.as_str(), &declared.image) == (version, &image));
        if !same {
            truth.declared = Some(Declared {
                version: version.to_owned(),
                image,
                commit: commit.to_owned(),
                author: who.shown(),
            });
        }
    }

    /// One step of the script: the commit, and what comes of it.
    pub fn step(&mut self, who: Who, does: Does, comes: Comes) {
        let commit = self.commits(who, does);
        let name = match does {
            Second(version) => {
                self.declares("second", &commit, who, version, &[]);
                "second"
            }
            Remove => {
                self.truth("second").declared = None;
                "second"
            }
            App(..) | Merge(..) | Revert => {
                let (version, more) = *self.layers.last().unwrap();
                let who = match (does, who) {
                    (Merge(..), Dana) => Ada,
                    (Merge(..), Ada) => Dana,
                    (_, who) => who,
                };
                self.declares("app", &commit, who, version, more);
                "app"
            }
            Words | Break | Mend => "app",
        };
        if !matches!(does, Words | Break | Mend) {
            self.truth(name).became = None;
        }
        // In the second of the commit git says the new, and what ran before runs.
        let at = Timestamp::from_second(self.last).unwrap();
        self.moments.push((at, self.truths.clone()));
        match does {
            Break => wait("its source says so", || {
                let source = get("releasesource", "", NS)?;
                (!is_true(&source, "Ready")).then_some(())
            }),
            Remove => {
                wait("it is gone", || {
                    let gone = |kind| get(kind, NS, "second").is_none();
                    (gone("release") && gone("deployment")).then_some(())
                });
                let truth = self.truth("second");
                truth.running = None;
                truth.buried = truth.newest;
                self.looks();
            }
            Words => {}
            _ if comes == Overtaken => {}
            _ => {
                let same = match does {
                    Mend => true,
                    App(..) | Merge(..) => self.says_the_same(),
                    _ => false,
                };
                self.settles(name, &commit, comes, same);
                self.looks();
            }
        }
    }

    /// Notes the truth of now.
    fn looks(&mut self) {
        let at = Timestamp::now();
        self.last = at.as_second();
        self.moments
            .push((Timestamp::from_second(self.last).unwrap(), self.truths.clone()));
    }

    /// Waits until what a commit said has come to its end, which may be the same as before.
    fn settles(&mut self, name: &'static str, commit: &str, comes: Comes, same: bool) {
        let phase = match comes {
            MigrationFails => "Failed(Migrating)",
            RollsBack => "RolledBack",
            _ => "Live",
        };
        let release = || get("release", NS, name).unwrap_or(Value::Null);
        let settled = wait_telling(
            &format!("{name}: {phase} of {commit}"),
            || format!("it is {}", release()["status"]),
            || {
                let release = release();
                let (meta, status) = (&release["metadata"], &release["status"]);
                // A commit that changes nothing of the spec is told by the source alone.
                let commits = [
                    &meta["annotations"]["slipway.dev/commit"],
                    &get("releasesource", "", NS)?["status"]["appliedCommit"],
                ];
                let read = commits[usize::from(same)] == commit
                    && meta["generation"] == status["observedGeneration"];
                let message = status["message"].as_str().unwrap_or_default();
                let there = status["phase"] == phase && !message.contains("on the way");
                (read && there).then(|| release.clone())
            },
        );
        let status = &settled["status"];
        let (version, more) = match name {
            "app" => *self.layers.last().unwrap(),
            _ => (status["declaredVersion"].as_str().unwrap(), [].as_slice()),
        };
        let migration = migration_of(more);
        let (outcome, of) = match comes {
            MigrationFails => ("MigrationFailed", &status["currentRevision"]),
            RollsBack => ("RolloutFailed", &status["currentRevision"]),
            _ => ("Live", &status["liveRevision"]),
        };
        let attempt = Attempt {
            revision: number(of),
            outcome,
            migration,
        };
        let newest = number(&status["currentRevision"]).max(attempt.revision);
        let running = (outcome == "Live").then(|| Running {
            version: version.to_owned(),
            digest: digest(name, more),
            attempt: attempt.clone(),
        });
        if name == "app" {
            self.attempts
                .insert(attempt.revision, (version.to_owned(), attempt.clone()));
        }
        let truth = self.truth(name);
        truth.newest = newest.max(truth.newest);
        truth.became = Some(attempt);
        if running.is_some() {
            truth.running = running;
        } else {
            // It is as it was: what ran is there again, and nothing else.
            let before = truth.running.clone().unwrap();
            assert_eq!(digest(name, &[]), before.digest);
            // Of a version that runs nobody asks what else was tried of it.
            if before.version == version {
                truth.became = Some(before.attempt);
            }
        }
    }
}

/// The digest that runs, once nothing else does: by the pods of `app`, by the Deployment of `second`.
fn digest(name: &str, more: &[&str]) -> String {
    let after = |text: &Value| {
        text.as_str()
            .and_then(|text| Some(text.rsplit_once('@')?.1.to_owned()))
    };
    if name != "app" {
        let deployment = get("deployment", NS, name).unwrap();
        return after(&deployment["spec"]["template"]["spec"]["containers"][0]["image"]).unwrap();
    }
    let wanted = if more.contains(&"replicas: 2") { 2 } else { 1 };
    wait(&format!("{wanted} pods of one image"), || {
        let mut pods = list("pod", NS, "slipway.dev/release=app,slipway.dev/process=web");
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let digests: BTreeSet<String> = pods
            .iter()
            .filter_map(|pod| after(&pod["status"]["containerStatuses"][0]["imageID"]))
            .collect();
        let alone = pods.len() == wanted && digests.len() == 1;
        alone.then(|| digests.into_iter().next())?
    })
}
