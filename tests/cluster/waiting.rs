//! Registries that have nothing yet, or do not answer: a sentence within 30 s, nothing that runs is touched, and it goes
//! on by itself.

use super::support::{
    Before, Broken, Case, bed_dir, is_true, kubectl, list, probe, script, shared, until_asked_again, wait,
    writes,
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
    let before = Before::of(&case);
    script("image-push", &["registry.bed.test:5000/acme/probe:1.0.0", &image]);
    case.live("1.0.0");
    before.mended_without_restart(&case);
    let before = Before::of(&case);
    script("image-push", &["registry.bed.test:5000/acme/probe:1.1.0", &image]);
    // Asked at the interval of the chart's values.
    wait("TagMoved", || is_true(&case.release(), "TagMoved").then_some(()));
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
    kubectl(&[
        "-n",
        ns,
        "create",
        "secret",
        "docker-registry",
        "pull",
        "--docker-server=registry.bed.test:5001",
        "--docker-username=puller",
        "--docker-password=wrong-password",
    ]);
    case.declare(
        "from the other one",
        "version: 1.0.0\nimage: registry.bed.test:5001/acme/shop\npullSecret: pull",
    );
    case.until("Waiting(RegistryAuth)", "1.0.0");
    assert!(!case.message().contains("wrong-password"));
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
