//! Whole objects, as they reach the API server: a change of any byte here restarts or repairs something somewhere,
//! so it must be seen. `INSTA_UPDATE=always cargo test --test render` writes the snapshots anew.

#![allow(clippy::unwrap_used)]

use insta::assert_yaml_snapshot;
use serde_json::Value;
use slipway::{
    api::{
        Duration,
        release::{OnFailure, Strategy},
    },
    names::{Digest, ProcessName, ReleaseId, RevisionNumber},
    render::{Input, Object, OwnerRef, Provenance, migrate_guard, migrate_job, render},
    spec::declared::{
        Agreement, AttemptHash, Declared, EnvSource, Exposure, FileSource, Holder, Identity, ImagePick,
        ImageRequest, MigrateSpec, Probe, ProcessSpec, RolloutSpec,
    },
};

const KEY: &str = "4c1d2f0a9b8e7d6c5b4a39281706f5e4d3c2b1a0998877665544332211ffeedd";

struct Release {
    id: ReleaseId,
    declared: Declared,
    digest: Digest,
    architectures: Vec<String>,
    provenance: Option<Provenance>,
    owner: Option<OwnerRef>,
}

impl Release {
    /// A release of one process `primary` that serves nothing, in the defaults of a spec.
    fn new(name: &str, preset: &str, primary: &str) -> Self {
        let declared = Declared {
            preset: preset.into(),
            version: "1.8.2".parse().unwrap(),
            image: ImageRequest {
                repository: format!("ghcr.io/acme/{name}"),
                pick: ImagePick::Tag("1.8.2".into()),
            },
            pull_secret: None,
            origin: None,
            agree: Agreement::default(),
            build: None,
            repin: 0,
            processes: [(
                primary.parse::<ProcessName>().unwrap(),
                process(2, "{cpu: 100m, memory: 256Mi}", "{}"),
            )]
            .into(),
            port: None,
            exposure: None,
            env_from: vec![],
            files: [].into(),
            requires: vec![],
            rotate: 0,
            writable: [("/tmp".to_owned(), "64Mi".to_owned())].into(),
            security: Identity {
                run_as_user: None,
                read_only_root: true,
                service_account: None,
            },
            probe: None,
            migrate: None,
            rollout: RolloutSpec {
                strategy: Strategy::Rolling,
                surge: "25%".into(),
                unavailable: "0".into(),
                deadline: Duration::from_secs(600),
                min_ready: Duration::from_secs(10),
                drain: Duration::from_secs(60),
            },
            verify_window: Duration::from_secs(60),
            verify_max_restarts: 0,
            suspend: None,
            on_secret_change: slipway::api::release::OnSecretChange::Roll,
            on_failure: OnFailure::Rollback,
            retain_revisions: 5,
            retain_failed_jobs: 5,
            attempt: 0,
            adopt: 0,
            attempt_hash: AttemptHash("0".repeat(64)),
        };
        Self {
            id: ReleaseId {
                namespace: "shop".parse().unwrap(),
                name: name.parse().unwrap(),
            },
            declared,
            digest: format!("sha256:{}", "d1".repeat(32)).parse().unwrap(),
            architectures: vec!["amd64".into(), "arm64".into()],
            provenance: Some(Provenance {
                commit: "9fceb02d0ae598e95dc970b74767f19372d61af8".parse().unwrap(),
                author: "Ada <ada@acme.com>".into(),
                path: format!("releases/production/{name}.yaml"),
            }),
            owner: None,
        }
    }

    fn serving(mut self, port: u16, env: &str, path: Option<&str>) -> Self {
        for process in self.declared.processes.values_mut() {
            process.env = serde_yaml::from_str(env).unwrap();
        }
        self.declared.port = Some(port);
        self.declared.probe = Some(Probe {
            path: path.map(str::to_owned),
            port,
            headers: [].into(),
            startup: Duration::from_secs(120),
        });
        self
    }

    fn with_process(mut self, name: &str, process: ProcessSpec) -> Self {
        self.declared.processes.insert(name.parse().unwrap(), process);
        self
    }

    fn at(mut self, host: &str, class: &str, annotations: &[(&str, &str)]) -> Self {
        let annotations = annotations
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        self.declared.exposure = Some(Exposure {
            host: host.into(),
            class: Some(class.into()),
            annotations: annotations.collect(),
        });
        self
    }

    fn phoenix() -> Self {
        let env =
            "{PORT: '4000', PHX_SERVER: 'true', PHX_HOST: billing.acme.com, LANG: C.UTF-8, RELEASE_TMP: /tmp,
                    POOL_SIZE: '10', PRICE: 'from $(5)', RELEASE_COOKIE: {generate: base64/64},
                    SECRET_KEY_BASE: {generate: base64/64}, DATABASE_URL: {secret: billing-db/url},
                    REGION: {config: cluster/region}, POD_IP: {field: status.podIP}}";
        let migrate = "{PHX_HOST: billing.acme.com, LANG: C.UTF-8, RELEASE_TMP: /tmp, POOL_SIZE: '10',
                        PRICE: 'from $(5)', RELEASE_COOKIE: {generate: base64/64},
                        SECRET_KEY_BASE: {generate: base64/64}, DATABASE_URL: {secret: billing-db/direct-url},
                        REGION: {config: cluster/region}, POD_IP: {field: status.podIP}, SLIPWAY_TASK: migrate}";
        let mut release = Self::new("billing", "phoenix@1", "web")
            .serving(4000, env, Some("/health"))
            .at(
                "billing.acme.com",
                "nginx",
                &[("nginx.ingress.kubernetes.io/proxy-body-size", "8m")],
            );
        release.declared.pull_secret = Some("ghcr".parse().unwrap());
        release.declared.security.run_as_user = Some(65534);
        let resources = release
            .declared
            .processes
            .values()
            .next()
            .unwrap()
            .resources
            .clone();
        release.declared.migrate = Some(MigrateSpec {
            command: Some(vec!["/app/bin/migrate".into()]),
            args: None,
            env: serde_yaml::from_str(migrate).unwrap(),
            timeout: Duration::from_secs(1800),
            retries: 0,
            resources,
            lock: None,
            service_account: None,
            proof: None,
            database: "DATABASE_URL".parse().unwrap(),
            compatible: None,
            rerun: 0,
            accept: None,
        });
        release
    }

    fn input(&self) -> Input<'_> {
        Input {
            id: &self.id,
            declared: &self.declared,
            digest: &self.digest,
            architectures: &self.architectures,
            revision: RevisionNumber(42),
            provenance: self.provenance.as_ref(),
            owner: self.owner.as_ref(),
        }
    }

    fn rendered(&self) -> Vec<Value> {
        values(render(&self.input()))
    }
}

fn process(replicas: u32, requests: &str, env: &str) -> ProcessSpec {
    let resources = format!("{{requests: {requests}, limits: {{memory: 0.5Gi}}}}");
    ProcessSpec {
        command: None,
        args: None,
        replicas,
        resources: serde_yaml::from_str(&resources).unwrap(),
        env: serde_yaml::from_str(env).unwrap(),
    }
}

fn values(objects: Vec<Object>) -> Vec<Value> {
    objects
        .into_iter()
        .map(|object| object.value.to_value())
        .collect()
}

/// The smallest spec, written by hand: `image`, `version`, `port`.
#[test]
fn web() {
    let mut release = Release::new("hello", "web@1", "web").serving(8080, "{PORT: '8080'}", None);
    release.provenance = None;
    release.owner = Some(OwnerRef {
        uid: "5c7a1c1e-3b0f-4d55-9a52-0a9e3f2f8a11"
            .to_owned()
            .try_into()
            .unwrap(),
        name: release.id.name.clone(),
    });
    release.architectures = vec![];
    assert_yaml_snapshot!(release.rendered());
}

/// No port, a second process, a single replica, an existing ServiceAccount, a root file system that may be written.
#[test]
fn worker_with_processes() {
    let mut mailer = process(1, "{cpu: '0.05', memory: 65536Ki}", "{QUEUE: mail}");
    mailer.command = Some(vec!["/app/bin/mailer".into()]);
    mailer.args = Some(vec!["--queue".into(), "mail".into()]);
    let mut release = Release::new("jobs", "worker@1", "worker").with_process("mailer", mailer);
    release.declared.rollout.strategy = Strategy::Recreate;
    release.declared.security.service_account = Some("jobs-aws".parse().unwrap());
    release.declared.security.read_only_root = false;
    assert_yaml_snapshot!(release.rendered());
}

#[test]
fn phoenix() {
    assert_yaml_snapshot!(Release::phoenix().rendered());
}

#[test]
fn nextjs() {
    let env = "{PORT: '3000', HOSTNAME: 0.0.0.0, NODE_ENV: production, EMPTY: ''}";
    let mut release = Release::new("storefront", "nextjs@1", "web").serving(3000, env, None);
    release.declared.security.run_as_user = Some(1001);
    let cache = ("/app/.next/cache".to_owned(), "1024Mi".to_owned());
    release.declared.writable.extend([cache]);
    release.declared.image.pick = ImagePick::Digest(release.digest.clone());
    assert_yaml_snapshot!(release.rendered());
}

/// Files and whole Secrets, in the pods of a process and of the migration alike.
#[test]
fn files_and_whole_secrets() {
    let mut release = Release::phoenix();
    let file = |holder, key: &str| FileSource {
        holder,
        key: key.parse().unwrap(),
    };
    release.declared.files = [
        (
            "/etc/billing/tls.crt".to_owned(),
            file(Holder::Secret, "billing-tls/tls.crt"),
        ),
        (
            "/etc/billing/tls.key".to_owned(),
            file(Holder::Secret, "billing-tls/tls.key"),
        ),
        (
            "/app/settings.toml".to_owned(),
            file(Holder::ConfigMap, "billing/settings.toml"),
        ),
    ]
    .into();
    let source = |holder, name: &str, prefix: &str| EnvSource {
        holder,
        name: name.parse().unwrap(),
        prefix: prefix.into(),
    };
    release.declared.env_from = vec![
        source(Holder::ConfigMap, "shared", ""),
        source(Holder::Secret, "billing-env", "BILLING_"),
    ];
    let is_workload = |value: &Value| value["kind"] == "Deployment" || value["kind"] == "Job";
    let mut objects = release.rendered();
    objects.push(migrate_job(&release.input(), KEY, 1).unwrap().value.to_value());
    objects.retain(is_workload);
    let pods: Vec<&Value> = objects
        .iter()
        .map(|object| &object["spec"]["template"]["spec"])
        .collect();
    assert_yaml_snapshot!(pods);
}

#[test]
fn migration() {
    let release = Release::phoenix();
    let guard = migrate_guard(&release.input(), KEY);
    let job = migrate_job(&release.input(), KEY, 1).unwrap();
    assert_yaml_snapshot!(values(vec![guard, job]));
}
