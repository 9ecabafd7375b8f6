//! Credentials and secrets of builds: they reach what they are for, and stand in no blob of the image or of the cache, in no log, no
//! argument and no object. The same search finds what a Dockerfile leaks on purpose.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slipway::hex::hex;

use super::support::{
    BUILDS, Case, Mark, Repo, alone, annotate, base64, bed_dir, blobs,
    canary::{Channel, Leak, Searcher, Text, of_processes},
    condition, credentials, get, kubectl, list, probe, repository, shared, try_exec, values, wait_telling,
};

const SIDE: &str = "auth";
const HOST: &str = "registry.bed.test:5001";

/// A release of the probe that is built into the registry which asks for passwords.
fn spec(ns: &str, app: &Repo, build: &str) -> String {
    credentials(ns, app.https());
    format!(
        "{}  replicas: 1\n  pullSecret: pull\n  source: {{git: {}, secret: {ns}}}\n  build: {build}\n",
        probe(ns).replace(
            "registry.bed.test:5000/acme/probe",
            &format!("{HOST}/{}", repository(ns))
        ),
        app.https(),
    )
}

/// With the Secret that its pods pull with.
fn case(ns: &str, app: &Repo, build: &str) -> Case {
    let case = Case::new(ns, &spec(ns, app, build));
    let pull = bed_dir().join("secrets/.dockerconfigjson");
    let file = format!("--from-file=.dockerconfigjson={}", pull.display());
    let kind = "--type=kubernetes.io/dockerconfigjson";
    kubectl(&["-n", ns, "create", "secret", "generic", "pull", kind, &file]);
    case
}

/// A Secret for one build, with a value that nobody else has.
fn secret(name: &str, app: &Repo) -> String {
    let value = values::canary("build");
    kubectl(&["-n", BUILDS, "delete", "secret", name, "--ignore-not-found"]);
    values::secret(BUILDS, name, &[("token", &value)]);
    annotate(name, app.https());
    value
}

/// Everything that builds are given in this namespace, and this value.
fn searcher(own: &str) -> Searcher {
    let mut all = vec![("the secret of this build".to_owned(), own.as_bytes().to_vec())];
    for secret in list("secret", BUILDS, "") {
        let name = secret["metadata"]["name"].as_str().unwrap();
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            if !["username", "known_hosts"].contains(&key.as_str()) {
                all.push((format!("{name}/{key}"), base64(value.as_str().unwrap())));
            }
        }
    }
    Searcher::new(&all)
}

fn version(app: &Repo, version: &str, dockerfile: &str) {
    app.write("Dockerfile", dockerfile);
    app.commit(version);
    app.tag(&format!("v{version}"));
}

/// The programs of a build, Slipway's own two among them.
const PROGRAMS: [&str; 5] = ["slipway", "rootlesskit", "buildkitd", "buildctl", "buildkit-runc"];

/// What the pods of builds of a case printed, container by container, and what they, their Jobs and their processes are.
#[derive(Default)]
struct Seen {
    logs: BTreeMap<String, String>,
    objects: Vec<Text>,
}

impl Seen {
    fn look(&mut self, case: &Case) {
        let of = |object: &Value| object.to_string().contains(&repository(&case.ns));
        for pod in list("pod", BUILDS, "slipway.dev/build").into_iter().filter(of) {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            for container in ["fetch", "build", "push"] {
                let log = try_exec(&["kubectl", "-n", BUILDS, "logs", &name, "-c", container], "");
                let place = format!("{name}/{container}");
                let known = self.logs.entry(place).or_default();
                *known = log
                    .ok()
                    .filter(|log| log.len() > known.len())
                    .unwrap_or(known.clone());
            }
            self.objects
                .push(text(Channel::Objects, &format!("Pod {name}"), pod.to_string()));
        }
        self.objects
            .extend(PROGRAMS.iter().flat_map(|name| of_processes(name)));
        for job in list("job", BUILDS, "slipway.dev/build").into_iter().filter(of) {
            self.objects.push(text(Channel::Objects, "Job", job.to_string()));
        }
    }

    fn texts(self) -> Vec<Text> {
        let logs = self
            .logs
            .into_iter()
            .map(|(name, log)| text(Channel::Logs, &name, log));
        logs.chain(self.objects).collect()
    }

    fn all(&self) -> String {
        self.logs.values().cloned().collect::<Vec<_>>().join("\n")
    }
}

fn text(channel: Channel, what: &str, words: String) -> Text {
    Text {
        channel,
        what: what.to_owned(),
        bytes: words.into_bytes(),
    }
}

/// Until it has this phase, looking at its build all the time.
fn build(case: &Case, phase: &str, version: &str) -> Seen {
    let mut seen = Seen::default();
    wait_telling(
        &format!("{}: {phase} of {version}", case.ns),
        || case.state(),
        || {
            seen.look(case);
            let status = &case.release()["status"];
            (status["phase"] == phase && status["declaredVersion"] == version).then_some(())
        },
    );
    seen
}

fn told(leaks: &[Leak]) -> String {
    leaks
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// What a step can see of what its pod was given.
const LOOKS: &str = "RUN --mount=type=secret,id=npm for root in /proc/[0-9]*/root; do ls \"$root/run/slipway\" 2>/dev/null; done | sort -u | sed 's/^/sees: /'; \
  for root in /proc/[0-9]*/root; do sha256sum <\"$root/run/slipway/registry/config.json\"; done 2>/dev/null | sort -u | sed 's/^/registry: /'; \
  for root in /proc/[0-9]*/root; do [ ! -e \"$root/bin\" ] || echo seen; done | wc -l | sed 's/^/roots: /'; \
  wc -c </run/secrets/npm | sed 's/^/bytes: /'; sleep 2
";

/// The hash of what a Secret for a registry holds.
fn hash_of(secret: &str) -> String {
    let secret = get("secret", BUILDS, secret).unwrap();
    let config = base64(secret["data"][".dockerconfigjson"].as_str().unwrap());
    hex(&Sha256::digest(&config))
}

#[test]
fn nothing_that_a_build_is_given_stands_in_a_blob_a_log_or_an_object() {
    let _services = shared();
    let ns = "leak-none";
    let app = Repo::new("leak-none-app");
    let own = secret(&format!("{ns}-npm"), &app);
    let case = case(ns, &app, &format!("{{secrets: {{npm: {ns}-npm/token}}}}"));
    version(
        &app,
        "1.0.0",
        &format!("FROM registry.bed.test:5000/acme/probe:1.0.0\nUSER 0\n{LOOKS}USER 65534:65534\n"),
    );
    case.declare("1.0.0", "version: 1.0.0");
    let seen = build(&case, "Live", "1.0.0");
    let printed = seen.all();
    assert!(
        printed.contains(&format!("bytes: {}", own.len())),
        "the step has it: {printed}"
    );
    // A step that looks into all processes that it sees looks into its own at least, and finds neither what the source is fetched
    // nor what the image is pushed with.
    let of_the_step = |name: &str| -> Vec<&str> {
        let marker = format!(" {name}: ");
        let printed = printed.lines().filter(|line| !line.contains("RUN "));
        printed
            .filter_map(|line| line.split_once(&marker))
            .map(|(_, said)| said)
            .collect()
    };
    let roots: Vec<u32> = of_the_step("roots")
        .iter()
        .filter_map(|count| count.parse().ok())
        .collect();
    assert!(roots.iter().any(|count| *count >= 1), "{printed}");
    assert!(!of_the_step("sees").contains(&"git"), "{printed}");
    let push = hash_of("push");
    assert_ne!(push, hash_of("base-images"));
    assert!(
        !of_the_step("registry").iter().any(|hash| hash.starts_with(&push)),
        "{printed}"
    );
    let fetched = |(name, log): (&String, &String)| name.ends_with("/fetch") && log.contains("files, ");
    assert!(seen.logs.iter().any(fetched), "{:?}", seen.logs);
    let asked = |text: &Text| text.channel == Channel::Processes && text.bytes.starts_with(b"buildctl\0");
    assert!(
        seen.objects.iter().any(asked),
        "arguments of the builder's client were seen"
    );
    let tags = blobs::tags(SIDE, &repository(ns));
    assert!(
        tags.iter().any(|tag| tag.starts_with("buildcache-")) && tags.iter().any(|tag| tag == "1.0.0"),
        "{tags:?}"
    );
    let searcher = searcher(&own);
    let (count, bytes, leaks) = blobs::search(SIDE, &repository(ns), &searcher);
    println!(
        "{count} blobs of {} KiB decompressed, {:?} values and patterns",
        bytes >> 10,
        searcher.size()
    );
    assert!(
        count >= 6 && leaks.is_empty(),
        "{}",
        told(&leaks.into_iter().collect::<Vec<_>>())
    );
    let mut texts = seen.texts();
    assert!(texts.len() >= 5);
    texts.extend(values::objects_of(ns));
    let leaks = searcher.search(&texts);
    assert!(
        leaks.is_empty(),
        "{}",
        told(&leaks.into_iter().collect::<Vec<_>>())
    );
    case.end();
}

#[test]
fn what_a_dockerfile_leaks_is_found_in_the_image_and_in_the_cache_alone() {
    let _services = shared();
    let ns = "leak-some";
    let app = Repo::new("leak-some-app");
    let case = case(ns, &app, &format!("{{secrets: {{npm: {ns}-npm/token}}}}"));
    let own = secret(&format!("{ns}-npm"), &app);
    let base = "FROM registry.bed.test:5000/acme/probe:1.0.0";
    let mount = "RUN --mount=type=secret,id=npm";
    version(
        &app,
        "1.0.0",
        &format!(
            "{base} AS builder\nUSER 0\n{mount} base64 </run/secrets/npm >/tmp/left-behind\n\
             {base}\nUSER 0\nCOPY --from=builder /etc/passwd /tmp/passwd\n{mount} cat /run/secrets/npm >/tmp/leaked\nUSER 65534:65534\n"
        ),
    );
    case.declare("1.0.0", "version: 1.0.0");
    build(&case, "Live", "1.0.0");
    let searcher = Searcher::new(&[("own".to_owned(), own.into_bytes())]);
    let (.., leaks) = blobs::search(SIDE, &repository(ns), &searcher);
    let forms: Vec<&str> = leaks.iter().map(|leak| leak.form).collect();
    let whats: std::collections::BTreeSet<&str> = leaks.iter().map(|leak| leak.what.as_str()).collect();
    println!("found: {}", told(&leaks.iter().cloned().collect::<Vec<_>>()));
    assert!(forms.iter().any(|form| form.contains("base64")), "{forms:?}");
    assert!(forms.iter().any(|form| !form.contains("base64")), "{forms:?}");
    // In a layer of the image, and in one of a stage that is in no image and is kept for the next build.
    assert!(whats.len() >= 2, "{whats:?}");
    case.end();
}

#[test]
fn a_step_that_prints_its_secret_and_fails_shows_it_to_nobody() {
    let _services = shared();
    let ns = "leak-log";
    let app = Repo::new("leak-log-app");
    let case = case(ns, &app, &format!("{{secrets: {{npm: {ns}-npm/token}}}}"));
    let own = secret(&format!("{ns}-npm"), &app);
    version(
        &app,
        "1.0.0",
        "FROM registry.bed.test:5000/acme/probe:1.0.0\nUSER 0\nRUN --mount=type=secret,id=npm echo asking && cat /run/secrets/npm && echo && \
         base64 </run/secrets/npm && echo 'the server said no' && exit 9\n",
    );
    case.declare("1.0.0", "version: 1.0.0");
    let seen = build(&case, "Failed(BuildFailed)", "1.0.0");
    assert!(seen.all().contains(&own), "the step has printed it");
    let log = build_log(&case);
    assert!(
        log.contains("asking") && log.contains("the server said no"),
        "{log}: {}",
        case.release()
    );
    nowhere(&own, ns);
    // What is noted of it was read while its value was known, and holds nothing of it when that is another.
    let later = values::canary("later");
    values::set(BUILDS, &format!("{ns}-npm"), "token", &later);
    case.looked_at(3);
    assert_eq!(build_log(&case), log, "what was noted stays");
    nowhere(&own, ns);
    case.end();
}

#[test]
fn of_a_log_whose_secret_changed_before_it_could_be_read_nothing_is_kept() {
    let _services = shared();
    let ns = "leak-late";
    let app = Repo::new("leak-late-app");
    let case = case(ns, &app, &format!("{{secrets: {{npm: {ns}-npm/token}}}}"));
    let own = secret(&format!("{ns}-npm"), &app);
    version(
        &app,
        "1.0.0",
        "FROM registry.bed.test:5000/acme/probe:1.0.0\nUSER 0\nRUN --mount=type=secret,id=npm cat /run/secrets/npm && echo && \
         sleep 15 && echo 'the server said no' && exit 9\n",
    );
    case.declare("1.0.0", "version: 1.0.0");
    let mut seen = Seen::default();
    wait_telling(
        "the step has printed it",
        || case.state(),
        || {
            seen.look(&case);
            seen.all().contains(&own).then_some(())
        },
    );
    // What the step printed can be found by this earlier value alone.
    values::set(BUILDS, &format!("{ns}-npm"), "token", &values::canary("later"));
    build(&case, "Failed(BuildFailed)", "1.0.0");
    let (message, log) = (case.message(), build_log(&case));
    assert!(message.contains("its log is not kept"), "{message}");
    for told in [message, log] {
        assert!(!told.contains("the server said no"), "{told}");
    }
    nowhere(&own, ns);
    case.end();
}

/// That a value stands in no object of a case, nor in any of the namespace for builds, where Jobs say how they failed.
fn nowhere(value: &str, ns: &str) {
    let searcher = Searcher::new(&[("own".to_owned(), value.as_bytes().to_vec())]);
    for namespace in [ns, BUILDS] {
        let leaks = searcher.search(&values::objects_of(namespace));
        assert!(
            leaks.is_empty(),
            "{}",
            told(&leaks.into_iter().collect::<Vec<_>>())
        );
    }
}

/// What a release tells of the log of a build that failed.
fn build_log(case: &Case) -> String {
    let release = case.release();
    let message = condition(&release, "BuildLog")["message"].as_str();
    message.unwrap_or_default().to_owned()
}

/// The credential that images are pushed with is another one as long as this lives.
struct WrongPush(String);

impl WrongPush {
    fn new() -> Self {
        let secret = get("secret", BUILDS, "push").unwrap();
        let right = secret["data"][".dockerconfigjson"].as_str().unwrap().to_owned();
        let config =
            json!({ "auths": { HOST: { "username": "pusher", "password": values::canary("push") } } });
        values::set(BUILDS, "push", ".dockerconfigjson", &config.to_string());
        Self(right)
    }
}

impl Drop for WrongPush {
    fn drop(&mut self) {
        let patch = json!({ "data": { ".dockerconfigjson": self.0 } }).to_string();
        kubectl(&[
            "-n",
            BUILDS,
            "patch",
            "secret",
            "push",
            "--type=merge",
            "-p",
            &patch,
        ]);
    }
}

#[test]
fn a_push_that_is_refused_is_its_own_sentence_and_is_not_tried_again() {
    let _services = alone();
    let ns = "push-refused";
    let app = Repo::new("push-refused-app");
    let case = case(ns, &app, "{}");
    let dockerfile = "FROM registry.bed.test:5000/acme/probe:1.0.0\nENV VERSION=";
    version(&app, "1.0.0", &format!("{dockerfile}1.0.0\n"));
    case.declare("1.0.0", "version: 1.0.0");
    build(&case, "Live", "1.0.0");
    let served = case.pod_identities();
    let wrong = WrongPush::new();
    let since = Mark::now();
    version(&app, "1.1.0", &format!("{dockerfile}1.1.0\n"));
    case.declare("1.1.0", "version: 1.1.0");
    build(&case, "Failed(BuildFailed)", "1.1.0");
    let message = case.message();
    println!("{message}");
    assert!(
        message.contains("push refused") && message.contains(HOST),
        "{message}"
    );
    case.looked_at(3);
    let made = since.created(BUILDS, "jobs");
    let of = |event: &&Value| event["requestObject"].to_string().contains(&repository(ns));
    assert_eq!(made.iter().filter(of).count(), 1, "{made:?}");
    assert_eq!(case.pod_identities(), served, "what serves is left alone");
    drop(wrong);
    case.declare("again", "version: 1.1.0\nattempt: 1");
    case.live("1.1.0");
    case.end();
}
