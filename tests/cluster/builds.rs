//! Images that Slipway builds in the cluster, from a commit.

mod alone;
mod failures;
mod said;

use serde_json::Value;
use slipway::api::meta;

use super::support::{
    BUILDS, Case, Mark, Metrics, Repo, credentials, get, key, list, probe, repository, shared, shop, source,
    wait_telling,
};

fn base(ns: &str, app: &Repo) -> String {
    credentials(ns, app.https());
    format!(
        "{}  source: {{git: {}, secret: {ns}}}\n  build:\n    args:\n      BUILDER_IMAGE: registry.bed.test:5000/bed/builder:1\n      \
         RUNNER_IMAGE: registry.bed.test:5000/bed/runner:1\n",
        shop(ns).replace("acme/shop", &repository(ns)),
        app.https(),
    )
}

fn newest(case: &Case) -> Value {
    case.revisions().pop().unwrap()
}

#[test]
fn a_version_without_an_image_is_built_from_its_commit_pushed_migrated_and_live() {
    let _services = shared();
    let ns = "build-shop";
    let app = Repo::new("build-shop-app");
    let commit = source(
        &app,
        "shop",
        "1.0.0",
        ("priv/token.txt", "a text that nobody else has"),
    );
    let case = Case::new(ns, &base(ns, &app));
    let counted = || {
        let numbers = Metrics::of_the_leader();
        (
            numbers.sum::<u64>("slipway_builds_total", "Pushed"),
            numbers.sum::<f64>("slipway_build_duration_seconds_sum", ""),
        )
    };
    let before = counted();
    case.declare("built", "version: 1.0.0");
    wait_telling(
        "it says that it is being built",
        || case.state(),
        || (case.phase() == "Building").then_some(()),
    );
    case.live("1.0.0");
    let image = newest(&case)["spec"]["image"].clone();
    assert_eq!(image["sourceCommit"], commit.as_str(), "{image}");
    let words = image["origin"].as_str().unwrap();
    assert!(
        words.contains("version agrees by annotation, revision agrees by annotation"),
        "{words}"
    );
    let after = counted();
    assert!(
        after.0 > before.0 && after.1 > before.1,
        "{after:?} after {before:?}"
    );
    // Nobody waits for the build any more.
    wait_telling(
        "its Job is gone",
        || format!("{:?}", list("job", BUILDS, "")),
        || {
            let of = |job: &Value| {
                job["metadata"]["annotations"]
                    .to_string()
                    .contains(&format!("{ns}/app"))
            };
            (!list("job", BUILDS, "slipway.dev/build").iter().any(of)).then_some(())
        },
    );
    assert!(get("deployment", ns, "app").is_some());
    case.end();
}

/// A Dockerfile on a shell alone: it is built in a second or two.
const TINY: &str = "FROM registry.bed.test:5000/acme/probe:1.0.0
ARG VERSION=1.0.0
ENV VERSION=$VERSION
";

/// A release of the probe whose image is built from this repository; `build` are fields of `build`, in braces.
fn tiny(ns: &str, app: &Repo, build: &str) -> String {
    credentials(ns, app.https());
    format!(
        "{}  replicas: 1\n  source: {{git: {}, secret: {ns}}}\n  build: {build}\n",
        probe(ns).replace("acme/probe", &repository(ns)),
        app.https(),
    )
}

/// A version of a repository: its Dockerfile, and further files.
fn version(app: &Repo, version: &str, dockerfile: &str, files: &[(&str, &str)]) -> String {
    app.write("Dockerfile", dockerfile);
    for (path, text) in files {
        app.write(path, text);
    }
    let commit = app.commit(version);
    app.tag(&format!("v{version}"));
    commit
}

fn runs_of(case: &Case) -> usize {
    let of = |job: &Value| {
        job["metadata"]["annotations"]
            .to_string()
            .contains(&format!("{}/app", case.ns))
    };
    list("job", BUILDS, "slipway.dev/build")
        .iter()
        .filter(|job| of(job))
        .count()
}

/// The Jobs that Slipway has made for an image since then, each with its number.
fn begun(since: Mark, image: &str) -> Vec<(u32, Value)> {
    let jobs = since.created(BUILDS, "jobs").into_iter();
    let of_image = |mut event: Value| {
        let job = event["requestObject"].take();
        let run = job["metadata"]["name"]
            .as_str()?
            .rsplit('-')
            .next()?
            .parse()
            .ok()?;
        (job["metadata"]["annotations"][meta::IMAGE] == image).then_some((run, job))
    };
    jobs.filter_map(of_image).collect()
}

/// What the builder of a Job may use.
fn memory(job: &Value) -> String {
    let containers = job["spec"]["template"]["spec"]["initContainers"].as_array();
    let mut builder = containers.unwrap().iter().filter(|one| one["name"] == "build");
    let limit = &builder.next().unwrap()["resources"]["limits"]["memory"];
    limit.as_str().unwrap().to_owned()
}

#[test]
fn what_cannot_be_built_says_what_failed_is_not_tried_again_and_the_version_before_serves() {
    let _services = shared();
    let ns = "build-fails";
    let app = Repo::new("build-fails-app");
    let case = Case::new(ns, &tiny(ns, &app, "{timeout: 4m}"));
    version(&app, "1.0.0", TINY, &[]);
    case.declare("one that can be built", "version: 1.0.0");
    case.live("1.0.0");
    let served = case.pod_identities();
    let arg = TINY.replace("ARG VERSION=1.0.0", "ARG API_KEY=AKIAIOSFODNN7EXAMPLE");
    for (number, dockerfile, files, build, words) in [
        (
            "1.1.0",
            format!("{TINY}RUN echo compiling && echo 'app.ex:7: no such thing' && exit 3\n"),
            &[][..],
            "{}",
            &["RUN echo compiling", "exit code 3", "line 4 of the Dockerfile"][..],
        ),
        (
            "1.2.0",
            format!(
                "{TINY}FROM registry.bed.test:5000/acme/probe:1.0.0 AS test\nRUN exit 4\nFROM registry.bed.test:5000/acme/probe:1.0.0\n"
            ),
            &[],
            "{testTarget: test}",
            &["its tests failed", "exit code 4"],
        ),
        (
            "1.3.0",
            format!("{TINY}RUN npm install\n"),
            &[("package.json", "{\"dependencies\": {\"left-pad\": \"^1.0.0\"}}")],
            "{}",
            &["package.json", "package-lock.json"],
        ),
        (
            "1.4.0",
            TINY.replace("acme/probe:1.0.0", "acme/nothing:1.0.0"),
            &[],
            "{}",
            &["there is no base image registry.bed.test:5000/acme/nothing:1.0.0"],
        ),
        ("1.5.0", arg, &[], "{}", &["Dockerfile:2", "AWS access key"]),
        (
            "1.6.0",
            TINY.to_owned(),
            &[],
            "{target: nothing}",
            &["there is no stage nothing"],
        ),
        (
            "1.7.0",
            format!("{TINY}RUN sleep 600\n"),
            &[],
            "{timeout: 20s}",
            &["build.timeout"],
        ),
    ] {
        version(&app, number, &dockerfile, files);
        case.declare(number, &format!("version: {number}\nbuild: {build}"));
        case.until("Failed(BuildFailed)", number);
        case.explained(words, "mend what the message names");
        case.looked_at(2);
        assert_eq!(runs_of(&case), 1, "{number} is not tried again");
        assert_eq!(
            case.pod_identities(),
            served,
            "{number}: what serves is left alone"
        );
        app.git(&["rm", "--quiet", "--ignore-unmatch", "package.json"]);
    }
    case.declare("no such tag", "version: 1.8.0\nbuild: {}");
    case.until("Waiting(RefNotFound)", "1.8.0");
    assert_eq!(
        case.pod_identities(),
        served,
        "no such tag: what serves is left alone"
    );
    version(&app, "1.8.0", TINY, &[]);
    case.live("1.8.0");
    case.end();
}

#[test]
fn a_source_over_ssh_is_built_with_its_key() {
    let _services = shared();
    let ns = "build-ssh";
    let app = Repo::new("build-ssh-app");
    let base = tiny(ns, &app, "{}").replace(app.https(), app.ssh());
    key(ns, app.ssh());
    let case = Case::new(ns, &base);
    let commit = version(&app, "1.0.0", TINY, &[]);
    case.declare("over ssh", "version: 1.0.0");
    case.live("1.0.0");
    assert_eq!(newest(&case)["spec"]["image"]["sourceCommit"], commit.as_str());
    case.end();
}

#[test]
fn two_releases_that_want_one_image_share_one_build_and_one_digest() {
    let _services = shared();
    let app = Repo::new("build-shared-app");
    let commit = version(&app, "1.0.0", &format!("{TINY}RUN sleep 5\n"), &[]);
    let spec = |ns: &str| tiny(ns, &app, "{}").replace(&repository(ns), &repository("shared"));
    let cases = ["build-shared-a", "build-shared-b"].map(|ns| Case::new(ns, &spec(ns)));
    let since = Mark::now();
    for case in &cases {
        case.declare("the same", "version: 1.0.0");
    }
    let digests = cases.each_ref().map(|case| {
        case.live("1.0.0");
        let image = newest(case)["spec"]["image"].clone();
        assert_eq!(image["sourceCommit"], commit.as_str());
        image["digest"].as_str().unwrap().to_owned()
    });
    assert_eq!(digests[0], digests[1]);
    let made = since.created(BUILDS, "jobs");
    let of = |event: &&Value| {
        event["requestObject"]
            .to_string()
            .contains(&format!("{}:1.0.0", repository("shared")))
    };
    assert_eq!(made.iter().filter(of).count(), 1, "{made:?}");
    for case in cases {
        case.end();
    }
}

#[test]
fn a_newer_version_ends_the_build_of_the_one_before() {
    let _services = shared();
    let ns = "build-newer";
    let app = Repo::new("build-newer-app");
    let case = Case::new(ns, &tiny(ns, &app, "{}"));
    version(&app, "1.0.0", &format!("{TINY}RUN sleep 600\n"), &[]);
    case.declare("slow", "version: 1.0.0");
    wait_telling(
        "it is being built",
        || case.state(),
        || case.message().contains("sleep 600").then_some(()),
    );
    version(&app, "1.1.0", TINY, &[]);
    case.declare("newer", "version: 1.1.0");
    case.live("1.1.0");
    wait_telling(
        "nothing of either build is left",
        || format!("{:?}", list("pod", BUILDS, "slipway.dev/build")),
        || {
            let of = |pod: &Value| pod.to_string().contains(&repository(ns));
            (runs_of(&case) == 0 && !list("pod", BUILDS, "slipway.dev/build").iter().any(of)).then_some(())
        },
    );
    case.end();
}
