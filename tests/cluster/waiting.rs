//! Registries that have nothing yet, or do not answer: a sentence within 30 s, nothing that runs is touched, and it goes
//! on by itself.

use jiff::Timestamp;
use serde_json::json;

use super::support::{
    Before, Broken, Case, Mark, bed_dir, canary, is_true, kubectl, list, probe, received, script, shared,
    until_asked_again, values::remember, wait, wait_telling, writes,
};

#[test]
fn a_missing_tag_is_waited_for_and_a_moved_one_is_reported_and_not_followed() {
    let _services = shared();
    let ns = "wait-tag";
    // A repository that no earlier run has pushed to.
    let later = format!("acme/later-{}", nanoseconds());
    let image = format!("registry.bed.test:5000/{later}:1.0.0");
    let base = probe(ns).replace("acme/probe", &later);
    let case = Case::new(ns, &base);
    case.declare("1.0.0", "version: 1.0.0");
    case.until("Waiting(WaitingForImage)", "1.0.0");
    case.explained(&[&format!("{later}:1.0.0")], "push the image, or correct version");
    let before = Before::of(&case);
    script("image-push", &["registry.bed.test:5000/acme/probe:1.0.0", &image]);
    case.live("1.0.0");
    before.mended_without_restart(&case);
    let before = Before::of(&case);
    script("image-push", &["registry.bed.test:5000/acme/probe:1.1.0", &image]);
    // Asked at the interval of the chart's values.
    wait("TagMoved", || is_true(&case.release(), "TagMoved").then_some(()));
    case.explained(
        &["1.0.0 is live", "the tag now has the digest"],
        "use a new version for a new image",
    );
    before.holds(&case);
    case.end();
}

fn nanoseconds() -> u32 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos()
}

#[test]
fn what_is_suspended_runs_on_as_it_is_until_a_commit_ends_the_pause() {
    let _services = shared();
    let case = Case::new("wait-suspend", &probe("wait-suspend"));
    case.declare("1.0.0", "version: 1.0.0\nreplicas: 1");
    case.live("1.0.0");
    let before = Before::of(&case);
    case.declare(
        "a pause",
        "version: 1.1.0\nreplicas: 2\nsuspend: {reason: the fair}",
    );
    case.until("Suspended", "1.1.0");
    let message = case.message();
    assert!(
        message.contains("the fair") && message.contains("1.0.0"),
        "{message}"
    );
    case.explained(
        &["Suspended", "the fair", "1.0.0 runs"],
        "nothing until the pause ends; to end it now, take suspend out",
    );
    before.holds(&case);
    // What was Live, and is again, is told by the event that told of it.
    case.declare("as before", "version: 1.0.0\nreplicas: 1");
    case.live("1.0.0");
    before.holds(&case);
    let told = || {
        let mut events = list("event", &case.ns, "");
        events.retain(|event| event["reason"] == "Live");
        events
    };
    wait("the event is told twice", || {
        let told = told();
        (told.len() == 1 && told[0]["series"]["count"] == 2).then_some(())
    });
    case.declare("1.1.0", "version: 1.1.0\nreplicas: 1");
    case.live("1.1.0");
    case.end();
}

#[test]
fn a_pause_with_an_end_holds_everything_back_until_then_and_ends_by_itself() {
    let _services = shared();
    let ns = "wait-until";
    let case = Case::new(ns, &probe(ns));
    case.declare("1.0.0", "version: 1.0.0\nreplicas: 1");
    case.live("1.0.0");
    let before = Before::of(&case);
    let later = |seconds| Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap();
    let pause = |message: &str, until: Timestamp| {
        let fields = format!("version: 1.1.0\nreplicas: 1\nsuspend: {{reason: the fair, until: '{until}'}}");
        case.declare(message, &fields);
    };
    let end = later(3600);
    pause("an hour", end);
    case.until("Suspended", "1.1.0");
    let words = format!("suspended until {end}: the fair; 1.0.0 runs");
    assert!(case.message().contains(&words), "{}", case.message());
    case.explained(
        &["Suspended", &words],
        "nothing until the pause ends; to end it now, take suspend out",
    );
    assert_eq!(case.revisions().len(), 1);
    before.holds(&case);

    // No commit ends this one.
    let (since, end) = (Mark::now(), later(30));
    pause("half a minute", end);
    case.live("1.1.0");
    let mut written = since.mutations(ns);
    written.retain(|event| event["objectRef"]["resource"] == "deployments");
    written.extend(since.created(ns, "releaserevisions"));
    let first = written.iter().map(received).min().expect("it was rolled out");
    assert!(first >= end, "paused until {end}, and written at {first}");
    assert!(case.ask("/").contains("version=1.1.0"));
    assert!(!case.message().contains("suspended"), "{}", case.message());
    case.end();
}

/// Waits until the rollout says this of what is in its way.
fn refused(case: &Case, words: &str) {
    wait_telling(
        words,
        || case.state(),
        || (case.phase() == "RollingOut" && case.message().contains(words)).then_some(()),
    );
}

#[test]
fn pods_that_pod_security_or_a_quota_refuses_are_told_in_its_words_and_come_when_they_may() {
    let _services = shared();
    let ns = "wait-refused";
    let case = Case::new(ns, &probe(ns));
    // Kubernetes asks again after pauses that grow.
    let declare = |version: &str| {
        let fields = format!("version: {version}\nreplicas: 1\nrollout: {{deadline: 30m}}");
        case.declare(version, &fields);
    };
    declare("1.0.0");
    case.live("1.0.0");
    // What Slipway makes may run under every level of Pod Security. What somebody injects beside it may not.
    let image = case.deployment()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let beside = json!({
        "name": "beside", "image": image, "securityContext": { "runAsUser": 65534 },
        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"],
    });
    let patch = json!({ "spec": { "template": { "spec": { "containers": [beside] } } } }).to_string();
    let injects = [
        "patch",
        "deployment",
        "app",
        "--field-manager=injector",
        "--type=strategic",
        "-p",
        &patch,
    ];
    kubectl(&[&["-n", ns], &injects[..]].concat());
    wait("the container beside it runs", || {
        let deployment = case.deployment();
        let (wanted, status) = (&deployment["metadata"]["generation"], &deployment["status"]);
        let all = ["replicas", "updatedReplicas", "availableReplicas"];
        let complete = all.iter().all(|count| status[count] == 1);
        (complete && status["observedGeneration"] == *wanted).then_some(())
    });
    case.live("1.0.0");

    let level = |level: &str| kubectl(&["label", "namespace", ns, level]);
    level("pod-security.kubernetes.io/enforce=restricted");
    declare("1.1.0");
    refused(&case, "violates PodSecurity");
    case.explained(
        &["RollingOut", "its pods are refused", "violates PodSecurity"],
        "let the namespace admit the pod",
    );
    assert!(case.ask("/").contains("version=1.0.0"), "the old pod serves");
    level("pod-security.kubernetes.io/enforce-");
    case.live("1.1.0");

    kubectl(&["-n", ns, "create", "quota", "none-left", "--hard=pods=1"]);
    let counted = "--for=jsonpath={.status.used.pods}=1";
    kubectl(&["-n", ns, "wait", "quota/none-left", counted, "--timeout=120s"]);
    declare("1.0.0");
    refused(&case, "exceeded quota: none-left");
    case.explained(
        &["RollingOut", "its pods are refused", "none-left"],
        "raise the quota of the namespace",
    );
    assert!(case.ask("/").contains("version=1.1.0"), "the old pod serves");
    kubectl(&["-n", ns, "delete", "quota", "none-left"]);
    case.live("1.0.0");
    case.end();
}

#[test]
fn an_image_for_another_architecture_is_not_rolled_out() {
    let _services = shared();
    let ns = "wait-arch";
    let case = Case::new(ns, &probe(ns).replace("acme/probe", "acme/armonly"));
    case.declare("1.0.0", "version: 1.0.0");
    case.until("Waiting(PlatformMismatch)", "1.0.0");
    let message = case.message();
    assert!(
        message.contains("linux/arm64") && message.contains("linux/amd64"),
        "{message}"
    );
    case.explained(
        &["linux/arm64", "linux/amd64"],
        "push an image for the processor of the nodes",
    );
    assert!(writes(ns, "deployments").is_empty());
    case.end();
}

#[test]
fn a_wrong_password_of_the_registry_is_said_and_mended_without_a_commit() {
    let _services = shared();
    let ns = "wait-auth";
    let base = "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: app, namespace: wait-auth}\nspec:\n  preset: phoenix\n  migrate: false\n  env: {DATABASE_URL: {secret: app-db/url}}\n  rollout: {minReady: 1s, drain: 5s}\n  verify: {window: 2s}\n";
    let case = Case::new(ns, base);
    case.declare(
        "from the public one",
        "version: 1.0.0\nimage: registry.bed.test:5000/acme/shop",
    );
    case.live("1.0.0");
    let before = Before::of(&case);
    let wrong = canary("wrong-password");
    remember("the wrong password of the registry", wrong.as_bytes());
    kubectl(&[
        "-n",
        ns,
        "create",
        "secret",
        "docker-registry",
        "pull",
        "--docker-server=registry.bed.test:5001",
        "--docker-username=puller",
        &format!("--docker-password={wrong}"),
    ]);
    case.declare(
        "from the other one",
        "version: 1.0.0\nimage: registry.bed.test:5001/acme/shop\npullSecret: pull",
    );
    case.until("Waiting(RegistryAuth)", "1.0.0");
    case.explained(
        &["registry.bed.test:5001/acme/shop:1.0.0"],
        "or renew the one that is given",
    );
    until_asked_again("RegistryAuth");
    assert_eq!(case.phase(), "Waiting(RegistryAuth)");
    before.holds(&case);
    kubectl(&["-n", ns, "delete", "secret", "pull"]);
    let file = bed_dir().join("secrets/.dockerconfigjson");
    kubectl(&[
        "-n",
        ns,
        "create",
        "secret",
        "generic",
        "pull",
        "--type=kubernetes.io/dockerconfigjson",
        &format!("--from-file=.dockerconfigjson={}", file.display()),
    ]);
    wait("the second revision is live", || {
        (case.release()["status"]["liveRevision"] == "app-v2").then_some(())
    });
    before.mended_without_restart(&case);
    case.end();
}

/// What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use super::{super::support::alone, *};

    #[test]
    fn a_registry_that_is_down_or_hangs_is_said_and_touches_nothing_that_runs() {
        let _services = alone();
        // A tag that no revision has resolved, for the second round.
        script(
            "image-push",
            &[
                "registry.bed.test:5000/acme/probe:1.1.0",
                "registry.bed.test:5000/acme/probe:1.1.1",
            ],
        );
        let case = Case::new("wait-registry", &probe("wait-registry"));
        case.declare("1.0.0", "version: 1.0.0");
        case.live("1.0.0");
        for (action, words, version) in [
            ("stop", "Connection refused", "1.1.0"),
            ("pause", "did not answer in time", "1.1.1"),
        ] {
            let before = Before::of(&case);
            let broken = Broken::by(action, "registry");
            case.declare(action, &format!("version: {version}"));
            wait(&format!("the sentence of {action}"), || {
                (case.phase() == "Waiting(RegistryUnreachable)" && case.message().contains(words))
                    .then_some(())
            });
            case.explained(&[words, version], "it is asked again");
            until_asked_again("Registry");
            assert_eq!(case.phase(), "Waiting(RegistryUnreachable)");
            before.holds(&case);
            drop(broken);
            case.live(version);
            before.mended_without_restart(&case);
        }
        case.end();
    }
}
