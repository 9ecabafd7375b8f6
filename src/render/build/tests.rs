use k8s_openapi::api::batch::v1::Job;

use super::{
    options::{cache, csv},
    *,
};
use crate::{
    api::{Duration, release::Agree},
    render::{fixtures::exactly, trial_job},
    repository::{GitUrl, RefName},
    spec::declared::{BuildSpec, Origin, OriginRef},
};

struct Fixture {
    builder: Builder,
    origin: Origin,
    build: BuildSpec,
    commit: CommitId,
    id: ReleaseId,
}

impl Fixture {
    fn new() -> Self {
        let builder = json!({
            "namespace": "slipway-builds", "image": "moby/buildkit:v0.33.0-rootless", "ownImage": "slipway:1",
            "serviceAccount": "slipway-build", "disk": "20Gi", "pushSecret": "push", "secret": "pull", "cache": {},
            "config": "slipway-buildkitd", "caBundle": "slipway-build-ca", "plainHttp": ["registry.test:5000"],
            "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "4Gi"}},
        });
        Self {
            builder: serde_json::from_value(builder).unwrap(),
            origin: Origin {
                git: GitUrl::parse("https://git.example.com/acme/mono.git", false).unwrap(),
                reference: OriginRef::Tag(RefName::tag("v1.0.0").unwrap()),
                path: "apps/shop".to_owned(),
                secret: Some("acme-git".parse().unwrap()),
            },
            build: BuildSpec {
                always: false,
                dockerfile: "docker/Dockerfile".to_owned(),
                target: Some("runner".to_owned()),
                test_target: Some("test".to_owned()),
                args: [("MIX_ENV".to_owned(), "prod, really \"so\"".to_owned())].into(),
                secrets: [("npm".to_owned(), "npm/token".parse().unwrap())].into(),
                platforms: vec!["linux/arm64".to_owned()],
                locks: Agree::Warn,
                timeout: Duration::from_secs(1800),
            },
            commit: "3f9c2a71d0c4b5e6f708192a3b4c5d6e7f809102".parse().unwrap(),
            id: ReleaseId {
                namespace: "shop".parse().unwrap(),
                name: "billing".parse().unwrap(),
            },
        }
    }

    fn input(&self) -> BuildInput<'_> {
        BuildInput {
            builder: &self.builder,
            wanted: Wanted {
                origin: &self.origin,
                build: &self.build,
                version: "1.0.0",
                reference: "registry.test:5000/acme/shop:1.0.0",
            },
            commit: &self.commit,
            run: 2,
            tries: 2,
            larger: false,
            by: (&self.id, 3),
        }
    }
}

fn containers(job: &Value) -> Vec<&Value> {
    let pod = &job["spec"]["template"]["spec"];
    let init = pod["initContainers"].as_array().into_iter().flatten();
    init.chain(pod["containers"].as_array().unwrap()).collect()
}

fn volumes_of(container: &Value) -> Vec<&str> {
    let mounts = container["volumeMounts"].as_array().unwrap();
    mounts
        .iter()
        .map(|mount| mount["name"].as_str().unwrap())
        .collect()
}

#[test]
fn job_and_trial_are_nothing_but_fields_of_kubernetes() {
    let mut fixture = Fixture::new();
    for isolation in [Isolation::Rootless, Isolation::Userns, Isolation::Privileged] {
        fixture.builder.isolation = isolation;
        exactly::<Job>(&build_job(&fixture.input()));
        exactly::<Job>(&trial_job(&fixture.builder));
    }
}

#[test]
fn a_proxy_is_given_to_what_fetches_builds_and_pushes_and_to_the_steps() {
    let mut fixture = Fixture::new();
    let env = [
        ("HTTPS_PROXY", "http://proxy.test:3128"),
        ("no_proxy", ".test"),
        ("TZ", "UTC"),
        ("OUTPUT", "elsewhere"),
    ];
    fixture.builder.env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let job = build_job(&fixture.input());
    exactly::<Job>(&job);
    for container in containers(&job) {
        let env = container["env"].as_array().unwrap();
        let of = |name: &str| -> Vec<&str> {
            let all = env.iter().filter(|variable| variable["name"] == name);
            all.map(|variable| variable["value"].as_str().unwrap()).collect()
        };
        assert_eq!(of("HTTPS_PROXY"), ["http://proxy.test:3128"], "{container}");
        assert_eq!(of("TZ"), ["UTC"]);
        let output = of("OUTPUT");
        assert_eq!(output.len(), 1);
        assert_eq!(
            output[0] == "elsewhere",
            container["name"] != "build",
            "its own is kept"
        );
    }
    let args = containers(&job)[1]["args"].to_string();
    assert!(
        args.contains("build-arg:HTTPS_PROXY=http://proxy.test:3128")
            && args.contains("build-arg:no_proxy=.test")
    );
    assert!(!args.contains("build-arg:TZ"), "{args}");
    fixture
        .build
        .args
        .insert("HTTPS_PROXY".to_owned(), "http://other.test".to_owned());
    let args = containers(&build_job(&fixture.input()))[1]["args"].to_string();
    assert_eq!(args.matches("build-arg:HTTPS_PROXY=").count(), 1, "{args}");
}

#[test]
fn the_kubelet_leaves_arguments_as_they_are_declared() {
    let mut fixture = Fixture::new();
    fixture.build.args = [("X".to_owned(), "pa$$word $(TARGET)".to_owned())].into();
    fixture.builder.env = [("Y".to_owned(), "$(X)".to_owned())].into();
    let job = build_job(&fixture.input());
    let all = containers(&job);
    assert!(
        all[0]["args"]
            .to_string()
            .contains("--arg=X=pa$$$$word $$(TARGET)"),
        "{}",
        all[0]
    );
    assert!(
        all[1]["args"]
            .to_string()
            .contains("build-arg:X=pa$$$$word $$(TARGET)"),
        "{}",
        all[1]
    );
    for container in all {
        assert!(container["env"].to_string().contains("\"$$(X)\""), "{container}");
    }
}

#[test]
fn each_credential_is_in_one_container_and_none_of_git_or_pushing_where_the_dockerfile_runs() {
    let job = build_job(&Fixture::new().input());
    let all = containers(&job);
    let holders = |volume: &str| -> Vec<&str> {
        let with = all
            .iter()
            .filter(|container| volumes_of(container).contains(&volume));
        with.map(|container| container["name"].as_str().unwrap())
            .collect()
    };
    assert_eq!(holders("git"), ["fetch"]);
    assert_eq!(holders("secrets"), ["build"]);
    assert_eq!(holders("registry"), ["build"]);
    assert_eq!(holders("push"), ["push"]);
    assert_eq!(holders("work"), ["fetch", "build", "push"]);
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    // Nothing of a value: Secrets are volumes, and no variable refers to one.
    assert!(!job.to_string().contains("secretKeyRef"));
}

#[test]
fn slipways_own_containers_can_do_nothing_and_a_rootless_builder_what_it_needs() {
    let job = build_job(&Fixture::new().input());
    for container in containers(&job) {
        let security = &container["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        if container["name"] == "build" {
            assert_eq!(security["seccompProfile"]["type"], "Unconfined");
            assert_eq!(security.get("privileged"), None);
        } else {
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        }
    }
}

#[test]
fn it_is_never_started_again_by_a_rule_and_is_found_by_who_waits_for_it() {
    let fixture = Fixture::new();
    let job = build_job(&fixture.input());
    let spec = &job["spec"];
    assert_eq!(spec["backoffLimit"], 0);
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Never");
    assert_eq!(spec["template"]["spec"]["activeDeadlineSeconds"], 1800);
    assert_eq!(spec.get("ttlSecondsAfterFinished"), None);
    let want = want(&fixture.id);
    assert_eq!(job["metadata"]["labels"][&want], "3");
    assert_eq!(job["metadata"]["annotations"][&want], "shop/billing");
    let name = job["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("build-") && name.ends_with("-2"), "{name}");
    // A label of pods has no name of a release: others wait for the same.
    assert_eq!(spec["template"]["metadata"]["labels"].get(&want), None);
}

#[test]
fn what_the_spec_says_comes_to_the_builder_word_by_word() {
    let job = build_job(&Fixture::new().input());
    let build = containers(&job)[1];
    let args: Vec<&str> = build["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap())
        .collect();
    for expected in [
        "--local=context=/workspace/tree/apps/shop",
        "--local=dockerfile=/workspace/tree/apps/shop/docker",
        "filename=Dockerfile",
        "build-arg:MIX_ENV=prod, really \"so\"",
        "platform=linux/arm64",
        "label:org.opencontainers.image.version=1.0.0",
        "attest:provenance=mode=min",
        "id=npm,src=/run/slipway/secrets/npm",
    ] {
        assert!(args.contains(&expected), "{expected}: {args:?}");
    }
    let variable = |name: &str| {
        let all = build["env"].as_array().unwrap();
        let found = all.iter().find(|variable| variable["name"] == name).unwrap();
        found["value"].as_str().unwrap()
    };
    assert_eq!((variable("TESTS"), variable("TARGET")), ("test", "runner"));
    assert!(
        variable("OUTPUT").starts_with("type=oci,tar=false,dest=/workspace/image,"),
        "{}",
        variable("OUTPUT")
    );
    assert!(variable("OUTPUT").contains("annotation-index.dev.slipway.build="));
    // As an argument the time of a commit would be a part of what every step is known by.
    assert_eq!(variable("TIME"), "/workspace/time");
    assert!(
        build["command"]
            .to_string()
            .contains(r#"$OUTPUT,$(cat \"$TIME\")"#)
    );
    assert!(!args.iter().any(|arg| arg.contains("SOURCE_DATE_EPOCH")));
    let selector = &job["spec"]["template"]["spec"]["nodeSelector"];
    assert_eq!(selector["kubernetes.io/arch"], "arm64");
}

#[test]
fn a_comma_or_a_quote_does_not_end_a_field_of_the_output() {
    let fields = ["type=oci", "annotation.a=1,2", "annotation.b=\"c\""].map(str::to_owned);
    assert_eq!(
        csv(&fields),
        "type=oci,\"annotation.a=1,2\",\"annotation.b=\"\"c\"\"\""
    );
}

#[test]
fn a_source_keeps_its_layers_in_a_tag_of_its_own() {
    let mut fixture = Fixture::new();
    let kept = |fixture: &Fixture| cache(&fixture.input()).unwrap();
    let first = kept(&fixture);
    assert!(
        first.starts_with("registry.test:5000/acme/shop:buildcache-"),
        "{first}"
    );
    fixture.origin.path = "apps/other".to_owned();
    assert_ne!(kept(&fixture), first);
    fixture.builder.cache = Some(crate::build::builder::Cache {
        repository: Some("registry.test:5000/cache".to_owned()),
    });
    assert!(kept(&fixture).starts_with("registry.test:5000/cache:buildcache-"));
    fixture.builder.cache = None;
    assert_eq!(cache(&fixture.input()), None);
}

#[test]
fn what_had_too_little_memory_is_given_twice_as_much() {
    let fixture = Fixture::new();
    let mut input = fixture.input();
    input.larger = true;
    let job = build_job(&input);
    let resources = &containers(&job)[1]["resources"];
    assert_eq!(resources["limits"]["memory"], "8Gi");
    assert_eq!(
        resources["requests"],
        json!({"cpu": "250m", "memory": "1Gi", "ephemeral-storage": "0"})
    );
    assert_eq!(job["metadata"]["annotations"][meta::LARGER], "true");
}

#[test]
fn all_that_a_build_writes_is_bounded_together() {
    let mut fixture = Fixture::new();
    let amounts = |fixture: &Fixture| {
        let resources = containers(&build_job(&fixture.input()))[1]["resources"].clone();
        ["requests", "limits"].map(|kind| resources[kind]["ephemeral-storage"].clone())
    };
    assert_eq!(amounts(&fixture), ["0", "20Gi"]);
    let own = |amount: &str| BTreeMap::from([("ephemeral-storage".to_owned(), amount.to_owned())]);
    fixture.builder.resources.requests = own("5Gi");
    fixture.builder.resources.limits = own("40Gi");
    assert_eq!(amounts(&fixture), ["5Gi", "40Gi"]);
}

#[test]
fn a_builder_that_is_another_is_tried_anew() {
    let mut fixture = Fixture::new();
    let name = |fixture: &Fixture| trial_job(&fixture.builder)["metadata"]["name"].clone();
    let first = name(&fixture);
    assert_eq!(name(&fixture), first);
    fixture.builder.isolation = Isolation::Userns;
    assert_ne!(name(&fixture), first);
}
