//! Builds that fail for what is not in their source: memory, credentials, registries, and a tag that is another commit now.

use std::fs;

use super::{
    super::support::{
        BUILDS, Case, Mark, Repo, annotate, bed_dir, canary, credentials, is_true, kubectl, shared,
        values::remember, wait_telling,
    },
    TINY, begun, memory, newest, repository, tiny, version,
};

/// A case whose version 1.0.0 was built and serves, with its repository.
fn serving(ns: &str, build: &str) -> (Case, Repo) {
    let app = Repo::new(&format!("{ns}-app"));
    let case = Case::new(ns, &tiny(ns, &app, build));
    version(&app, "1.0.0", TINY, &[]);
    case.declare("one that can be built", "version: 1.0.0");
    case.live("1.0.0");
    (case, app)
}

/// A step that needs so many MiB.
fn hungry(mebibytes: u32) -> String {
    format!("{TINY}RUN python3 -c 'print(len(bytes([1]) * ({mebibytes} << 20)))'\n")
}

#[test]
fn too_little_memory_is_tried_once_with_twice_as_much_and_then_said() {
    let _services = shared();
    let ns = "build-memory";
    let (case, app) = serving(ns, "{}");
    let since = Mark::now();
    let image = |version: &str| format!("registry.bed.test:5000/{}:{version}", repository(ns));
    let tried = |version: &str| -> Vec<(u32, String)> {
        let jobs = begun(since, &image(version));
        jobs.iter().map(|(run, job)| (*run, memory(job))).collect()
    };
    let both = [(1, "2Gi".to_owned()), (2, "4Gi".to_owned())];
    version(&app, "1.1.0", &hungry(2560), &[]);
    case.declare("twice as much is enough", "version: 1.1.0");
    case.live("1.1.0");
    assert_eq!(tried("1.1.0"), both);

    let served = case.pod_identities();
    version(&app, "1.2.0", &hungry(4608), &[]);
    case.declare("twice as much is too little", "version: 1.2.0");
    case.until("Failed(BuildFailed)", "1.2.0");
    case.explained(
        &["(2 times)", "ran out of memory", "RUN python3"],
        "mend what the message names",
    );
    case.looked_at(2);
    assert_eq!(tried("1.2.0"), both, "it is not tried a third time");
    assert_eq!(case.pod_identities(), served, "what serves is left alone");
    case.end();
}

#[test]
fn whether_a_secret_is_for_a_source_is_looked_at_before_each_run_of_a_build() {
    let _services = shared();
    let ns = "build-again";
    let (case, app) = serving(ns, "{}");
    let since = Mark::now();
    let image = format!("registry.bed.test:5000/{}:1.1.0", repository(ns));
    version(&app, "1.1.0", &hungry(2560), &[]);
    case.declare("the first run has too little memory", "version: 1.1.0");
    wait_telling(
        "it is begun",
        || case.state(),
        || (begun(since, &image).len() == 1).then_some(()),
    );
    annotate(ns, "https://git.bed.test/another.git");
    case.until("Waiting(BuildSecret)", "1.1.0");
    case.explained(&["source.secret", ns, "is not for"], "slipway.dev/for");
    assert_eq!(begun(since, &image).len(), 1, "it is not begun again");
    annotate(ns, app.https());
    case.live("1.1.0");
    assert_eq!(begun(since, &image).len(), 2);
    case.end();
}

#[test]
fn a_wrong_password_of_git_is_said_nothing_is_built_and_the_right_one_is_enough_to_go_on() {
    let _services = shared();
    let ns = "build-password";
    let (case, app) = serving(ns, "{}");
    let (since, served) = (Mark::now(), case.pod_identities());
    version(&app, "1.1.0", TINY, &[]);
    let wrong = canary("git-password");
    remember("the wrong password of git", wrong.as_bytes());
    kubectl(&["-n", BUILDS, "delete", "secret", ns]);
    let password = format!("--from-literal=password={wrong}");
    let secret = [
        "create",
        "secret",
        "generic",
        ns,
        "--from-literal=username=slipway",
        &password,
    ];
    kubectl(&[&["-n", BUILDS], &secret[..]].concat());
    annotate(ns, app.https());
    case.declare("with another password", "version: 1.1.0");
    case.until("Waiting(GitAuth)", "1.1.0");
    case.explained(
        &[
            "cannot ask for tag v1.1.0 of https://git.bed.test/",
            "does not accept the credentials",
        ],
        "renew the one that is given",
    );
    let message = case.message();
    assert_eq!(message.matches("v1.1.0").count(), 1, "said once: {message}");
    case.looked_at(2);
    let image = format!("registry.bed.test:5000/{}:1.1.0", repository(ns));
    assert_eq!(begun(since, &image), []);
    assert_eq!(case.pod_identities(), served, "what serves is left alone");
    credentials(ns, app.https());
    case.live("1.1.0");
    assert_eq!(begun(since, &image).len(), 1);
    case.end();
}

#[test]
fn a_tag_that_moved_after_its_build_stops_the_next_environment_and_leaves_the_one_that_has_it() {
    let _services = shared();
    let app = Repo::new("build-moved-app");
    let spec = |ns: &str| tiny(ns, &app, "{}").replace(&repository(ns), &repository("moved"));
    let [staging, production] = ["build-moved-a", "build-moved-b"].map(|ns| Case::new(ns, &spec(ns)));
    let first = version(&app, "1.0.0", TINY, &[]);
    staging.declare("built", "version: 1.0.0");
    staging.live("1.0.0");
    let (since, served) = (Mark::now(), staging.pod_identities());
    let digest = newest(&staging)["spec"]["image"]["digest"].clone();

    let second = version(&app, "1.0.0", TINY, &[("README.md", "moved")]);
    production.declare("the tag is another commit now", "version: 1.0.0");
    production.until("Failed(ImageMismatch)", "1.0.0");
    production.explained(
        &[
            &format!("it says that it was built from commit {}", &first[..12]),
            &format!("and tag v1.0.0 is {}", &second[..7]),
        ],
        "push the right image",
    );
    staging.looked_at(2);
    let image = format!("registry.bed.test:5000/{}:1.0.0", repository("moved"));
    assert_eq!(begun(since, &image), [], "nothing is built over it");
    assert_eq!(staging.phase(), "Live");
    assert_eq!(staging.pod_identities(), served);

    // Whoever means the commit of now has it built, and pushed over the other.
    production.declare("as it is now", "version: 1.0.0\nbuild: {mode: always}");
    production.live("1.0.0");
    let image = newest(&production)["spec"]["image"].clone();
    assert_eq!(image["sourceCommit"], second.as_str());
    assert_ne!(image["digest"], digest);
    wait_telling(
        "TagMoved where the first one runs",
        || staging.state(),
        || is_true(&staging.release(), "TagMoved").then_some(()),
    );
    assert_eq!(newest(&staging)["spec"]["image"]["digest"], digest);
    assert_eq!(staging.pod_identities(), served, "and it goes on running");
    staging.end();
    production.end();
}

#[test]
fn a_registry_that_cannot_store_is_tried_three_times_and_again_when_a_commit_asks() {
    let _services = shared();
    let ns = "build-unwell";
    let (case, app) = serving(ns, "{}");
    let (since, served) = (Mark::now(), case.pod_identities());
    // It answers questions about this repository, and 500 to each upload: there is a file in the way.
    let broken = repository("unwell");
    let place = bed_dir()
        .join("registry/public/docker/registry/v2/repositories")
        .join(&broken);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("_uploads"), "in the way").unwrap();
    version(&app, "1.1.0", TINY, &[]);
    let broken = format!("registry.bed.test:5000/{broken}");
    let runs = || -> Vec<u32> {
        let jobs = begun(since, &format!("{broken}:1.1.0"));
        jobs.iter().map(|(run, _)| *run).collect()
    };
    case.declare("it cannot store", &format!("version: 1.1.0\nimage: {broken}"));
    case.until("Failed(BuildFailed)", "1.1.0");
    case.explained(
        &["(3 times)", &format!("cannot push {broken}:1.1.0")],
        "mend what the message names",
    );
    case.looked_at(2);
    assert_eq!(runs(), [1, 2, 3]);
    assert_eq!(case.pod_identities(), served, "what serves is left alone");
    fs::remove_file(place.join("_uploads")).unwrap();
    case.declare("again", &format!("version: 1.1.0\nimage: {broken}\nattempt: 2"));
    case.live("1.1.0");
    assert_eq!(runs(), [1, 2, 3, 4]);
    case.end();
}
