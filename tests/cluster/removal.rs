//! Only git deletes: what people delete comes back, what git removed goes, and what only looks like a removal is held with
//! a sentence.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::support::{
    Aside, Before, Case, Mark, apply, audit, established, explained, get, is_true, kubectl, list, probe,
    received, shared, shop, wait, writes,
};

fn source(name: &str) -> Value {
    get("releasesource", "", name).unwrap_or(Value::Null)
}

/// Changes fields of a source's spec.
fn patch(source: &str, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    kubectl(&["patch", "releasesource", source, "--type=merge", "-p", &patch]);
}

/// Waits until the status of a source has these words.
fn told(source_name: &str, words: &str) {
    wait(&format!("{source_name}: {words}"), || {
        let status = &source(source_name)["status"];
        let text = format!("{} {}", status["message"], status["problems"]);
        text.contains(words).then_some(())
    });
}

fn settled(source_name: &str) {
    wait(&format!("{source_name} is applied"), || {
        let source = source(source_name);
        let current = source["status"]["observedGeneration"] == source["metadata"]["generation"];
        (current && is_true(&source, "Ready")).then_some(())
    });
}

fn phase(namespace: &str, name: &str) -> String {
    let release = get("release", namespace, name).unwrap_or(Value::Null);
    release["status"]["phase"].as_str().unwrap_or("").to_owned()
}

/// A production layer of a release.
fn layer(namespace: &str, name: &str, fields: &str) -> String {
    format!(
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  {fields}\n"
    )
}

const ONE: &str = "version: 1.0.0\n  replicas: 1";

/// Three releases of the small application: app, other and third.
fn three(ns: &str) -> Case {
    let case = Case::new(ns, &probe(ns));
    for name in ["other", "third"] {
        let base = probe(ns).replace("name: app", &format!("name: {name}"));
        case.repo.write(&format!("base/{name}.yaml"), &base);
        case.repo
            .write(&format!("production/{name}.yaml"), &layer(ns, name, ONE));
    }
    case.declare("three", "version: 1.0.0\nreplicas: 1");
    for name in ["app", "other", "third"] {
        wait(&format!("{name} is live"), || {
            (phase(ns, name) == "Live").then_some(())
        });
    }
    case
}

/// The UIDs of the Services and Deployments of three releases: what goes first, and what goes last.
fn objects(ns: &str) -> Vec<Value> {
    let uid = |kind: &str, name: &str| get(kind, ns, name).unwrap_or(Value::Null)["metadata"]["uid"].clone();
    ["app", "other", "third"]
        .iter()
        .flat_map(|name| [uid("service", name), uid("deployment", name)])
        .collect()
}

/// Pods, and what has been written of Deployments and Jobs.
fn running(case: &Case) -> (Vec<(String, i64)>, usize, usize) {
    (
        case.pod_identities(),
        writes(&case.ns, "deployments").len(),
        Mark::start().created(&case.ns, "jobs").len(),
    )
}

/// How long who asks may take to notice that the way to the pods is gone.
const DRAIN: SignedDuration = SignedDuration::from_secs(5);

/// Judges the removal of a release by the audit log: what exposes it goes first, and what runs a while later.
pub fn exposure_went_first(namespace: &str, name: &str) {
    let order: Vec<(Timestamp, String)> = audit(namespace)
        .into_iter()
        .filter(|event| event["verb"] == "delete" && event["objectRef"]["name"] == name)
        .filter(|event| {
            let code = event["responseStatus"]["code"].as_i64();
            code.is_some_and(|code| code < 300)
        })
        .map(|event| {
            let resource = event["objectRef"]["resource"].as_str().unwrap_or("");
            (received(&event), resource.to_owned())
        })
        .collect();
    let of = |resource: &str| {
        let its = order.iter().filter(|(_, one)| one == resource);
        its.map(|(at, _)| *at).collect::<Vec<_>>()
    };
    let stopped = of("deployments").into_iter().min().expect("a Deployment");
    for exposing in ["ingresses", "services"] {
        let hidden = of(exposing).into_iter().max().expect(exposing);
        assert!(
            stopped.duration_since(hidden) >= DRAIN,
            "exposure goes first, and it drains: {order:?}"
        );
    }
}

#[test]
fn a_release_that_somebody_deletes_is_written_again_and_neither_rolls_nor_migrates() {
    let _services = shared();
    let ns = "rem-deleted";
    let case = Case::new(ns, &shop(ns));
    case.declare("1.0.0", "version: 1.0.0\nreplicas: 1");
    let first = case.live("1.0.0")["metadata"]["uid"].clone();
    let (before, revisions) = (running(&case), case.revisions().len());
    kubectl(&["-n", ns, "delete", "release", "app"]);
    wait("the release is another one, and live", || {
        let release = case.release();
        let another = !release["metadata"]["uid"].is_null() && release["metadata"]["uid"] != first;
        (another && release["status"]["phase"] == "Live").then_some(())
    });
    assert_eq!((running(&case), case.revisions().len()), (before, revisions));
    case.end();
}

#[test]
fn what_only_looks_like_a_removal_is_held_with_a_sentence() {
    let _services = shared();
    let ns = "rem-held";
    let case = three(ns);
    let (there, before) = (objects(ns), Before::of(&case));
    let good = case.repo.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let held = |words: &str| {
        told(ns, words);
        assert_eq!(objects(ns), there, "{words}: nothing is deleted");
        before.holds(&case);
    };
    let back = |why: &str| {
        case.repo.git(&["checkout", "--quiet", &good, "--", "."]);
        case.repo.commit(why);
        settled(ns);
    };

    case.repo.write("production/other.yaml", &layer(ns, "otter", ONE));
    case.repo.commit("a mistyped name");
    held("VersionRemoved");
    case.explained_of(
        "other",
        &[
            "production/other.yaml:",
            "did you mean rem-held/other?",
            "1.0.0 stays as it is",
        ],
        "mend the file at that place",
    );
    assert!(get("release", ns, "otter").is_none(), "there is no base for it");
    back("the name is right again");

    case.repo
        .write("production/other.yaml", &layer(ns, "other", "replicas: 1"));
    case.repo.commit("no version");
    held("VersionRemoved");
    wait("its own status says so", || {
        (phase(ns, "other") == "Waiting(VersionRemoved)").then_some(())
    });
    case.explained_of(
        "other",
        &["Waiting(VersionRemoved)", "production/other.yaml"],
        "give the version in git again; to remove the release, remove its file",
    );
    back("a version again");

    case.repo
        .git(&["rm", "--quiet", "production/other.yaml", "production/third.yaml"]);
    case.repo.commit("two of three");
    held("2 of 3 releases are not declared any more");
    case.explained_of(
        "third",
        &[
            "2 of 3 releases are not declared any more",
            "1.0.0 stays as it is",
        ],
        "put the files back in git; if it is meant, let so many go by maxDeletions",
    );
    back("all three again");

    case.repo.git(&["rm", "--quiet", "production/other.yaml"]);
    case.repo.write(
        "production/third.yaml",
        "apiVersion: slipway.dev/v1alpha1\nkind: [\n",
    );
    case.repo.commit("one gone, one broken");
    held("is kept until the commit has no problem");
    case.explained_of(
        "other",
        &["is kept until the commit has no problem"],
        "mend the other problems",
    );
    case.explained_of(
        "third",
        &["production/third.yaml:"],
        "mend the file at that place",
    );
    back("whole again");

    case.repo.git(&["rm", "--quiet", "-r", "production"]);
    case.repo.commit("no production");
    held("production");
    assert_eq!(ready_reason(ns), "DirectoryMissing");
    case.explained(
        &["1.0.0 is live", "cannot read directory production"],
        "put the directory back",
    );
    case.repo.write("production/README.md", "nothing\n");
    case.repo.commit("an empty production");
    held("all 3 releases are not declared any more");
    case.explained_of(
        "app",
        &["all 3 releases are not declared any more", "1.0.0 stays as it is"],
        "put the files back in git; if it is meant, let so many go by maxDeletions",
    );
    back("production again");

    case.repo.git(&["rm", "--quiet", "-r", "."]);
    case.repo.commit("an empty tree");
    wait("DirectoryMissing", || {
        (ready_reason(ns) == "DirectoryMissing").then_some(())
    });
    held("base");
    case.explained(
        &["1.0.0 is live", "cannot read directory base"],
        "put the directory back",
    );
    back("everything again");

    // Now a directory and a branch that lack two of them.
    for name in ["app", "other"] {
        case.repo
            .write(&format!("staging/{name}.yaml"), &layer(ns, name, ONE));
    }
    case.repo.commit("staging");
    settled(ns);
    patch(ns, &json!({"paths": ["base", "staging"]}));
    held("this is the first commit since the source, or its url, branch or paths, were new");
    case.explained_of(
        "third",
        &["this is the first commit since the source"],
        "commit once more to the paths of the source",
    );
    patch(ns, &json!({"paths": ["base", "production"]}));
    settled(ns);
    let main = case.repo.git(&["rev-parse", "HEAD"]).trim().to_owned();
    case.repo.git(&["rm", "--quiet", "production/third.yaml"]);
    case.repo.git(&["commit", "--quiet", "-m", "another branch"]);
    case.repo.push("other");
    patch(ns, &json!({"git": {"branch": "other"}}));
    held("this is the first commit since the source, or its url, branch or paths, were new");
    case.explained_of(
        "third",
        &[
            "this is the first commit since the source",
            "1.0.0 stays as it is",
        ],
        "commit once more to the paths of the source",
    );
    patch(ns, &json!({"git": {"branch": null}}));
    case.repo.git(&["reset", "--quiet", "--hard", &main]);
    settled(ns);

    // A branch that is gone.
    case.repo.forget("main");
    held("the repository has no such branch");
    case.explained(&["1.0.0 is live", "no such branch"], "correct git.branch");
    case.repo.push("main");
    settled(ns);

    // A history that somebody rewrote, without one of them.
    case.repo.git(&["reset", "--quiet", "--hard", &good]);
    case.repo.git(&["rm", "--quiet", "production/other.yaml"]);
    case.repo.commit("by force");
    held("HistoryRewritten");
    case.explained(
        &["1.0.0 is live", "HistoryRewritten"],
        "if the rewrite is meant, set git.allowRewrite",
    );
    case.end();
}

fn ready_reason(source_name: &str) -> String {
    let source = source(source_name);
    let reason = &super::support::condition(&source, "Ready")["reason"];
    reason.as_str().unwrap_or("").to_owned()
}

#[test]
fn two_sources_that_declare_one_release_do_not_fight_and_the_second_takes_it_when_the_first_is_gone() {
    let _services = shared();
    let ns = "rem-two";
    let case = Case::new(ns, &probe(ns));
    case.declare("1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    let before = Before::of(&case);
    let second = format!("{ns}-second");
    kubectl(&["delete", "releasesource", &second, "--ignore-not-found"]);
    let spec = source(ns)["spec"].clone();
    let object = json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "ReleaseSource",
        "metadata": {"name": second}, "spec": spec,
    });
    apply(&object.to_string());
    told(&second, &format!("belongs to ReleaseSource {ns}"));
    explained(
        ns,
        "app",
        &second,
        &[
            "1.0.0 is live",
            &second,
            &format!("belongs to ReleaseSource {ns}"),
        ],
        "remove it from what one of the two sources reads",
    );
    settled(ns);
    before.holds(&case);
    kubectl(&["delete", "releasesource", ns]);
    wait("the second has it", || {
        (case.release()["metadata"]["labels"]["slipway.dev/source"] == second.as_str()).then_some(())
    });
    settled(&second);
    before.holds(&case);
    let first = json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "ReleaseSource",
        "metadata": {"name": ns}, "spec": spec,
    });
    apply(&first.to_string());
    told(ns, &format!("belongs to ReleaseSource {second}"));
    case.explained(
        &["1.0.0 is live", &format!("belongs to ReleaseSource {second}")],
        "remove it from what one of the two sources reads",
    );
    kubectl(&["delete", "releasesource", &second, "--wait=false"]);
    case.end();
}

#[test]
fn a_release_written_by_hand_is_taken_over_by_its_source_and_its_pods_are_no_longer_its_own() {
    let _services = shared();
    let ns = "rem-hand";
    let case = Case::new(ns, &probe(ns));
    apply(&format!("{}  version: 1.0.0\n  replicas: 1\n", probe(ns)));
    wait("live by hand", || (case.phase() == "Live").then_some(()));
    let owners = || case.deployment()["metadata"]["ownerReferences"].clone();
    assert_eq!(owners()[0]["kind"], "Release");
    let pods = case.pod_identities();
    case.declare("the same, from git", "version: 1.0.0\nreplicas: 1");
    wait("its source has it", || {
        (case.release()["metadata"]["labels"]["slipway.dev/source"] == ns).then_some(())
    });
    wait("nothing owns its Deployment", || owners().is_null().then_some(()));
    case.live("1.0.0");
    assert_eq!(case.pod_identities(), pods);
    let first = case.release()["metadata"]["uid"].clone();
    kubectl(&["-n", ns, "delete", "release", "app"]);
    wait("it is written again", || {
        let release = case.release();
        let another = !release["metadata"]["uid"].is_null() && release["metadata"]["uid"] != first;
        (another && release["status"]["phase"] == "Live").then_some(())
    });
    assert_eq!(case.pod_identities(), pods);
    case.end();
}

#[test]
fn what_somebody_else_made_is_taken_over_when_a_commit_says_so() {
    let _services = shared();
    let ns = "rem-adopt";
    let case = Case::new(ns, &probe(ns));
    let since = Mark::now();
    let service = "apiVersion: v1
kind: Service
metadata: {name: app, namespace: rem-adopt, labels: {theirs: 'yes'}}
spec:
  selector: {app: old}
  ports: [{name: web, port: 80, targetPort: 9}, {name: more, port: 81, targetPort: 9}]
";
    let deployment = |labels: &str| {
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: app, namespace: rem-adopt}}
spec:
  replicas: 1
  selector: {{matchLabels: {labels}}}
  template:
    metadata: {{labels: {labels}}}
    spec: {{containers: [{{name: old, image: 'registry.bed.test:5000/acme/probe:1.0.0'}}]}}
"
        )
    };
    apply(&format!("{service}---\n{}", deployment("{app: old}")));
    case.declare("1.0.0", "version: 1.0.0\nreplicas: 1\nadopt: 1");
    case.until("Waiting(NameTaken)", "1.0.0");
    let message = case.message();
    assert!(
        message.contains("selector") && message.contains("move the host"),
        "{message}"
    );
    case.explained(&["Deployment app", "move the host"], "rename the release in git");
    // Before what is in the way goes: what is left could be taken over.
    case.declare("not yet", "version: 1.0.0\nreplicas: 1");
    wait("nothing is to be taken over", || {
        let release = case.release();
        let seen = release["status"]["observedGeneration"] == release["metadata"]["generation"];
        (seen && release["spec"]["adopt"].is_null()).then_some(())
    });
    kubectl(&["-n", ns, "delete", "deployment", "app"]);
    apply(&deployment(
        "{slipway.dev/release: app, slipway.dev/process: web}",
    ));
    wait("what can be taken over is said", || {
        case.message().contains("raise adopt").then_some(())
    });
    case.explained(
        &["Waiting(NameTaken)", "raise adopt"],
        "raise adopt where the message says that it can be taken over",
    );
    let uids =
        || ["service", "deployment"].map(|kind| get(kind, ns, "app").unwrap()["metadata"]["uid"].clone());
    let before = uids();
    let touched = since.mutations(ns).into_iter().any(|event| {
        let resource = &event["objectRef"]["resource"];
        resource == "services" || resource == "deployments"
    });
    assert!(!touched, "nothing of theirs is written before a commit says so");
    case.declare("take it over", "version: 1.0.0\nreplicas: 1\nadopt: 1");
    case.live("1.0.0");
    assert_eq!(uids(), before, "the same objects");
    let containers = case.deployment()["spec"]["template"]["spec"]["containers"].clone();
    let names: Vec<&Value> = containers
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["web"]);
    let service = get("service", ns, "app").unwrap();
    assert_eq!(service["spec"]["ports"].as_array().unwrap().len(), 1, "{service}");
    assert_eq!(service["spec"]["selector"]["slipway.dev/release"], "app");
    assert!(service["spec"]["selector"]["app"].is_null(), "{service}");
    assert_eq!(
        service["metadata"]["labels"]["theirs"], "yes",
        "labels of others stay"
    );
    case.ask("/health");
    wait("the counter has done its work", || {
        let adopted = |revision: &Value| revision["status"]["adopted"] == 1;
        case.revisions().iter().any(adopted).then_some(())
    });
    case.end();
}

#[test]
fn a_missing_namespace_is_waited_for_or_made_and_never_deleted() {
    let _services = shared();
    let (ns, made) = ("rem-ns", "rem-ns-made");
    kubectl(&[
        "delete",
        "namespace",
        made,
        "--ignore-not-found",
        "--timeout=120s",
    ]);
    let case = Case::new(ns, &probe(ns));
    case.declare("1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    patch(ns, &json!({"namespaces": [ns, made]}));
    let other = probe(made).replace("name: app", "name: inside");
    case.repo.write("base/inside.yaml", &other);
    case.repo
        .write("production/inside.yaml", &layer(made, "inside", ONE));
    case.repo.commit("in a namespace that does not exist");
    told(ns, "Waiting(NamespaceMissing)");
    explained(
        made,
        "inside",
        ns,
        &["There is no release", "namespace rem-ns-made"],
        "kubectl create namespace rem-ns-made",
    );
    patch(ns, &json!({"createNamespaces": true}));
    wait("live in the new namespace", || {
        (phase(made, "inside") == "Live").then_some(())
    });
    let label = "jsonpath={.metadata.labels.slipway\\.dev/source}";
    assert_eq!(kubectl(&["get", "namespace", made, "-o", label]).trim(), ns);
    // It goes, and something holds it.
    apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: holds, namespace: {made}, finalizers: [bed.test/holds]}}\n"
    ));
    kubectl(&["delete", "namespace", made, "--wait=false"]);
    told(ns, "Waiting(NamespaceTerminating)");
    explained(
        made,
        "inside",
        ns,
        &["namespace rem-ns-made", "is being deleted"],
        "find what holds it",
    );
    let free = r#"{"metadata":{"finalizers":null}}"#;
    kubectl(&[
        "-n",
        made,
        "patch",
        "configmap",
        "holds",
        "--type=merge",
        "-p",
        free,
    ]);
    wait("live in a namespace made anew", || {
        (phase(made, "inside") == "Live").then_some(())
    });
    settled(ns);
    case.repo
        .git(&["rm", "--quiet", "base/inside.yaml", "production/inside.yaml"]);
    case.repo.commit("its release goes");
    wait("the release is gone", || {
        get("release", made, "inside").is_none().then_some(())
    });
    settled(ns);
    let phase = kubectl(&["get", "namespace", made, "-o", "jsonpath={.status.phase}"]);
    assert_eq!(phase.trim(), "Active", "no namespace is deleted");
    kubectl(&["delete", "namespace", made, "--wait=false"]);
    case.end();
}

/// What disturbs others: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use super::{super::support::alone, *};

    const KINDS: [&str; 3] = [
        "releasesources.slipway.dev",
        "releases.slipway.dev",
        "releaserevisions.slipway.dev",
    ];

    #[test]
    fn what_git_and_people_removed_while_slipway_was_down_is_settled_when_it_is_back() {
        let _services = alone();
        let ns = "rem-down";
        let case = three(ns);
        let host = format!("{ONE}\n  host: other.example.com");
        case.repo
            .write("production/other.yaml", &layer(ns, "other", &host));
        case.repo.commit("with a host");
        wait("the other has an Ingress", || {
            get("ingress", ns, "other").map(drop)
        });
        settled(ns);
        let before = running(&case);
        let aside = Aside::new();
        // Of one the file and the object are gone, of another the object alone.
        case.repo.git(&["rm", "--quiet", "production/other.yaml"]);
        case.repo.commit("the other goes");
        kubectl(&["-n", ns, "delete", "release", "app", "other"]);
        assert_eq!(running(&case), before, "without Slipway nothing changes");
        assert!(get("deployment", ns, "other").is_some());
        drop(aside);
        wait("all of the other is gone", || {
            let kinds = ["deployment", "service", "serviceaccount", "ingress"];
            kinds
                .iter()
                .all(|kind| get(kind, ns, "other").is_none())
                .then_some(())
        });
        case.live("1.0.0");
        let (pods, ..) = running(&case);
        assert_eq!(pods, before.0, "what git declares runs on");
        assert_eq!(phase(ns, "third"), "Live");
        exposure_went_first(ns, "other");
        assert!(
            !list("releaserevision", ns, "slipway.dev/release=other").is_empty(),
            "its revisions stay"
        );
        case.end();
    }

    #[test]
    fn kinds_that_are_deleted_and_installed_again_bring_everything_back_without_a_rollout_or_a_migration() {
        let _services = alone();
        let ns = "rem-kinds";
        let case = Case::new(ns, &shop(ns));
        case.declare("1.0.0", "version: 1.0.0\nreplicas: 1");
        case.live("1.0.0");
        // The last attempt migrated and was rolled back.
        case.declare("1.2.0", "version: 1.2.0\nreplicas: 1");
        case.until("RolledBack", "1.2.0");
        case.explained(&["1.2.0", "was rolled back", "1.0.0 runs"], "read why it crashes");
        wait("one pod of the old version", || {
            (case.pod_identities().len() == 1).then_some(())
        });
        let (before, kept) = (running(&case), source(ns));
        let crds = KINDS.map(|kind| kubectl(&["get", "crd", kind, "-o", "json"]));
        kubectl(&[&["delete", "crd"], &KINDS[..]].concat());
        assert_eq!(running(&case), before, "without the kinds everything runs on");
        for crd in crds {
            let crd: Value = serde_json::from_str(&crd).unwrap();
            let anew = json!({
                "apiVersion": crd["apiVersion"], "kind": crd["kind"], "spec": crd["spec"],
                "metadata": {
                    "name": crd["metadata"]["name"], "labels": crd["metadata"]["labels"],
                    "annotations": crd["metadata"]["annotations"],
                },
            });
            apply(&anew.to_string());
        }
        for kind in &KINDS {
            established(kind);
        }
        let again = json!({
            "apiVersion": kept["apiVersion"], "kind": kept["kind"],
            "metadata": { "name": ns }, "spec": kept["spec"],
        });
        apply(&again.to_string());
        let release = case.until("RolledBack", "1.2.0");
        assert_eq!(release["status"]["liveVersion"], "1.0.0");
        assert!(is_true(&release, "SchemaAhead"));
        assert_eq!(
            running(&case),
            before,
            "no Deployment was written, and no Job made"
        );
        assert!(case.ask("/").contains("version: 1.0.0"));
        case.explained(
            &["1.2.0", "was rolled back", "1.0.0 runs"],
            "commit a version that works",
        );
        case.declare("1.1.0", "version: 1.1.0\nreplicas: 1");
        case.live("1.1.0");
        case.end();
    }
}
