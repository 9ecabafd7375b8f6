//! A merged spec → [`Declared`]: the preset underneath, every default filled in, every rule checked.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    amounts,
    check::{self, Problems},
    declared::{DATABASE, Declared, Exposure, Identity, MigrateSpec, Probe, ProcessSpec, Suspension},
    document::join,
    firewall, image,
    preset::{self, Preset},
    strict,
};
use crate::{
    api::{
        Duration, ReleaseSpec,
        release::{EnvValue, Migrate, MigrateOptions, OnFailure, OnSecretChange, Suspend},
    },
    names::{EnvName, ObjectName, ProcessName, ReleaseName, Version},
};

mod build;
mod hash;
mod origin;
mod outside;
mod processes;
mod times;

use hash::attempt_hash;
pub use hash::spec_hash;
use processes::{Environment, environment, processes, verbatim};
pub use times::doubts;
use times::{rollout, span};

/// Why a spec cannot be, with the place inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// JSON pointer into the spec; empty for the whole.
    pub pointer: String,
    /// What is wrong and what to do; never the value of a variable.
    pub message: String,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "spec.{}: {}", strict::dotted(&self.pointer), self.message)
        }
    }
}

/// What a spec declares; `None` when it gives no version: then the release is not deployed here.
///
/// # Errors
/// Everything that is wrong with it, not only the first thing.
pub fn declare(name: &ReleaseName, spec: &ReleaseSpec) -> Result<Option<Declared>, Vec<Rejection>> {
    let mut problems = Problems::default();
    for finding in firewall::scan(spec) {
        problems.add(finding.pointer, finding.message);
    }
    let Some(version) = &spec.version else {
        return problems.end(None);
    };
    let version: Option<Version> = problems.parse("/version", version);
    let preset = match preset::find(spec.preset.as_deref().unwrap_or("web")) {
        Ok(preset) => Some(preset),
        Err(message) => {
            problems.add("/preset".into(), message);
            None
        }
    };
    let (Some(version), Some((full_name, preset))) = (version, preset) else {
        return problems.end(None);
    };
    let image = match spec.image.as_deref().map(|text| image::parse(text, &version)) {
        Some(Ok(image)) => Some(image),
        Some(Err(message)) => problems.none("/image", message),
        None => problems.none(
            "/image",
            "an image is required, such as ghcr.io/acme/billing".into(),
        ),
    };
    let port = port(spec, &preset, &mut problems);
    let env = environment(spec, &preset, port, &mut problems);
    let processes = processes(spec, &preset, &env, &mut problems);
    let migrate = migrate(spec, &preset, &env, &processes, &mut problems);
    verbatim(spec, &env, &processes, migrate.as_ref(), &mut problems);
    let named = (full_name.as_str(), &preset);
    let requires = outside::requires(name, spec, named, &env, migrate.as_ref(), &mut problems);
    let writable = writable(spec, &preset, &mut problems);
    let origin = origin::origin(spec, &version, &mut problems);
    let pick = image.as_ref().map(|image| &image.pick);
    let declared = Declared {
        preset: full_name,
        build: build::build(spec, &version, origin.as_ref(), pick, &mut problems),
        pull_secret: outside::pull_secret(spec, &mut problems),
        origin,
        agree: origin::agreement(spec),
        processes,
        port,
        exposure: exposure(spec, port, &mut problems),
        files: outside::files(spec, &writable, &mut problems),
        env_from: env.sources,
        requires,
        writable,
        security: identity(spec, &preset, &mut problems),
        probe: port.map(|port| probe(spec, port, &mut problems)),
        migrate,
        rollout: rollout(spec, &mut problems),
        verify_window: spec
            .verify
            .as_ref()
            .and_then(|v| v.window)
            .unwrap_or(Duration::from_secs(60)),
        verify_max_restarts: problems.number(
            "/verify/maxRestarts",
            spec.verify.as_ref().and_then(|v| v.max_restarts),
            0,
            0,
            1000,
        ),
        on_failure: spec.on_failure.unwrap_or(OnFailure::Rollback),
        suspend: suspension(spec, &mut problems),
        on_secret_change: spec.on_secret_change.unwrap_or(OnSecretChange::Roll),
        retain_revisions: problems.number(
            "/retain/revisions",
            spec.retain.as_ref().and_then(|r| r.revisions),
            5,
            1,
            100,
        ),
        retain_failed_jobs: problems.number(
            "/retain/failedJobs",
            spec.retain.as_ref().and_then(|r| r.failed_jobs),
            5,
            0,
            100,
        ),
        attempt: u64::from(problems.number("/attempt", spec.attempt, 0, 0, 1_000_000)),
        adopt: u64::from(problems.number("/adopt", spec.adopt, 0, 0, 1_000_000)),
        repin: u64::from(problems.number("/repin", spec.repin, 0, 0, 1_000_000)),
        rotate: u64::from(problems.number("/rotate", spec.rotate, 0, 0, 1_000_000)),
        attempt_hash: attempt_hash(spec, &preset),
        version,
        image: match image {
            Some(image) => image,
            None => return problems.end(None),
        },
    };
    outside::countable(name, &declared, &mut problems);
    problems.end(Some(declared))
}

fn port(spec: &ReleaseSpec, preset: &Preset, problems: &mut Problems) -> Option<u16> {
    if !preset.serves {
        if spec.port.is_some() {
            problems.add(
                "/port".into(),
                "a worker has no port; use another preset, such as web".into(),
            );
        }
        return None;
    }
    match spec.port {
        Some(port) => match u16::try_from(port).ok().filter(|port| *port > 0) {
            Some(port) => Some(port),
            None => problems.none(
                "/port",
                format!("{port} is not a port; it is a number from 1 to 65535"),
            ),
        },
        None if preset.port.is_some() => preset.port,
        None => problems.none(
            "/port",
            "a port is required: the one that the application listens on".into(),
        ),
    }
}

/// Command, arguments, and all else of what migrates; `None` where nothing does.
#[allow(clippy::type_complexity, reason = "three things that are taken apart at once")]
fn told(
    spec: &ReleaseSpec,
    preset: &Preset,
) -> Option<(Option<Vec<String>>, Option<Vec<String>>, MigrateOptions)> {
    let all_else = MigrateOptions::default();
    Some(match &spec.migrate {
        None => (Some(preset.migrate.clone()?), None, all_else),
        Some(Migrate::Never) => return None,
        Some(Migrate::Command(words))
            if words
                .first()
                .is_some_and(|word| preset.subcommands.contains(word)) =>
        {
            (None, Some(words.clone()), all_else)
        }
        Some(Migrate::Command(words)) => (Some(words.clone()), None, all_else),
        Some(Migrate::Options(options)) => {
            let command = match (&options.command, &options.args) {
                (None, None) => preset.migrate.clone(),
                (command, _) => command.clone(),
            };
            (command, options.args.clone(), (**options).clone())
        }
    })
}

fn migrate(
    spec: &ReleaseSpec,
    preset: &Preset,
    env: &Environment,
    processes: &BTreeMap<ProcessName, ProcessSpec>,
    problems: &mut Problems,
) -> Option<MigrateSpec> {
    let (command, args, options) = told(spec, preset)?;
    if command.as_ref().is_none_or(Vec::is_empty) && args.as_ref().is_none_or(Vec::is_empty) {
        return problems.none(
            "/migrate",
            "say what migrates: a command or args, such as [/app/bin/migrate], or false".into(),
        );
    }
    let mut variables = env.all.clone();
    variables.extend(check::variables("/migrate/env", &options.env, problems));
    let (place, place_of_args) = if matches!(spec.migrate, Some(Migrate::Command(_))) {
        ("/migrate", "/migrate")
    } else {
        ("/migrate/command", "/migrate/args")
    };
    check::words(place, command.as_deref(), (&variables, &env.sources), problems);
    check::words(
        place_of_args,
        args.as_deref(),
        (&variables, &env.sources),
        problems,
    );
    if let Ok(task) = "SLIPWAY_TASK".parse() {
        variables.insert(task, EnvValue::Literal("migrate".to_owned()));
    }
    let database = options.database.as_deref().unwrap_or(DATABASE);
    let named: EnvName = problems.parse("/migrate/database", database)?;
    let in_whole = env.sources.iter().any(|source| source.key_of(&named).is_some());
    if options.database.is_some() && !variables.contains_key(&named) && !in_whole {
        problems.add(
            "/migrate/database".into(),
            format!("the variable {named} is not declared"),
        );
    }
    let service_account = match &options.service_account {
        Some(name) => Some(problems.parse("/migrate/serviceAccount", name)?),
        None => None,
    };
    for (pointer, text) in [
        ("/migrate/lock", &options.lock),
        ("/migrate/proof", &options.proof),
    ] {
        if text
            .as_ref()
            .is_some_and(|text| text.trim().is_empty() || text.chars().count() > 200)
        {
            problems.add(pointer.to_owned(), "must have 1 to 200 characters".into());
        }
    }
    if let Some(resources) = &options.resources
        && resources.limits.contains_key("ephemeral-storage")
    {
        problems.add(
            "/migrate/resources/limits/ephemeral-storage".into(),
            "a migration has no bound on disk: exceeding one evicts it midway".into(),
        );
    }
    let primary = if preset.serves {
        ProcessName::web()
    } else {
        ProcessName::worker()
    };
    let of_process = processes.get(&primary).map(|process| process.resources.clone());
    let mut resources = amounts::resources(
        "/migrate/resources",
        options.resources.as_ref(),
        &of_process.unwrap_or_default(),
        problems,
    );
    // That of the process is not for it: exceeding it means eviction.
    resources.limits.remove("ephemeral-storage");
    span("/migrate/timeout", options.timeout, "30m", problems);
    let retries = options.retries.map(i64::from);
    Some(MigrateSpec {
        command,
        args,
        env: variables,
        timeout: options.timeout.unwrap_or(Duration::from_secs(1800)),
        retries: problems.number("/migrate/retries", retries, 0, 0, 10),
        resources,
        lock: options.lock,
        service_account,
        proof: options.proof,
        database: named,
        compatible: options.compatible,
        rerun: options.rerun.unwrap_or(0),
        accept: options.accept,
    })
}

fn exposure(spec: &ReleaseSpec, port: Option<u16>, problems: &mut Problems) -> Option<Exposure> {
    let Some(host) = &spec.host else {
        if spec.ingress.is_some() {
            problems.add("/ingress".into(), "an Ingress needs a host; give `host`".into());
        }
        return None;
    };
    if port.is_none() {
        return problems.none(
            "/host",
            "nothing here answers requests, so a host has no meaning".into(),
        );
    }
    if let Err(message) = check::host(host) {
        return problems.none("/host", message);
    }
    let ingress = spec.ingress.clone().unwrap_or_default();
    if let Some(class) = &ingress.class {
        problems.parse::<ObjectName>("/ingress/class", class);
    }
    for name in ingress.annotations.keys() {
        if let Err(message) = check::annotation(name) {
            problems.add(join("/ingress/annotations", name), message);
        }
    }
    Some(Exposure {
        host: host.clone(),
        class: ingress.class,
        annotations: ingress
            .annotations
            .into_iter()
            .map(|(name, value)| (name, value.0))
            .collect(),
    })
}

fn suspension(spec: &ReleaseSpec, problems: &mut Problems) -> Option<Suspension> {
    let Suspend { reason, until } = spec.suspend.clone()?;
    if reason.trim().is_empty() {
        problems.add(
            "/suspend/reason".into(),
            "say why: it is what people read who wait".into(),
        );
    }
    let until = match until {
        None => None,
        Some(text) => match text.parse::<Timestamp>() {
            Ok(time) => Some(time),
            Err(_) => {
                return problems.none(
                    "/suspend/until",
                    "must be a time such as 2026-12-01T08:00:00Z".into(),
                );
            }
        },
    };
    Some(Suspension { reason, until })
}

fn writable(spec: &ReleaseSpec, preset: &Preset, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut paths = preset.writable.clone();
    for (path, size) in &spec.writable {
        let pointer = join("/writable", path);
        if let Err(message) = check::path(path).and_then(|()| amounts::size(&size.0)) {
            problems.add(pointer, message);
        }
        paths.insert(path.clone(), size.0.clone());
    }
    paths
}

fn identity(spec: &ReleaseSpec, preset: &Preset, problems: &mut Problems) -> Identity {
    let security = spec.security.clone().unwrap_or_default();
    if let Some(user) = security.run_as_user
        && !(1..=2_147_483_647).contains(&user)
    {
        problems.add(
            "/security/runAsUser".into(),
            "must be a numeric user other than 0 (root)".into(),
        );
    }
    Identity {
        run_as_user: security.run_as_user.or(preset.user),
        read_only_root: security.read_only_root.unwrap_or(true),
        service_account: security
            .service_account
            .as_ref()
            .and_then(|name| problems.parse::<ObjectName>("/security/serviceAccount", name)),
    }
}

fn probe(spec: &ReleaseSpec, port: u16, problems: &mut Problems) -> Probe {
    let health = spec.health.clone().unwrap_or_default();
    if let Some(path) = &health.path
        && (!path.starts_with('/')
            || path.len() > 1024
            || path.chars().any(|c| c.is_control() || c.is_whitespace()))
    {
        problems.add(
            "/health".into(),
            "must be a path that begins with '/', such as /health".into(),
        );
    }
    if health.port == Some(0) {
        problems.add("/health/port".into(), "must be a number from 1 to 65535".into());
    }
    for (name, value) in &health.headers {
        let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        if name.is_empty() || !name.bytes().all(token) || value.chars().any(char::is_control) {
            problems.add(
                "/health/headers".into(),
                "must be names and values of HTTP headers, without control characters".into(),
            );
        }
    }
    span("/health/startup", health.startup, "2m", problems);
    Probe {
        path: health.path,
        port: health.port.unwrap_or(port),
        headers: health.headers,
        startup: health.startup.unwrap_or(Duration::from_secs(120)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kube::CustomResourceExt as _;

    use serde_json::Value;

    use super::*;
    use crate::build::key::{Inputs, Wanted};

    const BILLING: &str = "
preset: phoenix
image: ghcr.io/acme/billing
health: /health
version: 1.8.2
host: billing.acme.com
replicas: 3
env:
  POOL_SIZE: '10'
  DATABASE_URL: {secret: billing-db/url}
  SECRET_KEY_BASE: {generate: base64/64}
";

    fn spec(text: &str) -> ReleaseSpec {
        serde_yaml::from_str(text).unwrap()
    }

    fn declared(text: &str) -> Declared {
        declare(&"billing".parse().unwrap(), &spec(text))
            .unwrap_or_else(|e| panic!("{e:?}"))
            .unwrap()
    }

    fn refused(text: &str) -> Vec<String> {
        match declare(&"billing".parse().unwrap(), &spec(text)) {
            Err(rejections) => rejections.iter().map(ToString::to_string).collect(),
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn the_version_stands_in_values_of_build_arguments_and_another_one_is_another_build() {
        let built = |version: &str, value: &str| {
            let source = "source: {git: 'https://git.example.com/acme/billing.git'}";
            let text = format!("{source}\nbuild: {{args: {{APP: '{value}', PLAIN: x}}}}\n");
            declared(&format!("{}{text}", BILLING.replace("1.8.2", version)))
        };
        let args = |declared: &Declared| declared.build.as_ref().unwrap().args.clone();
        let found = args(&built("1.8.2", "app-{version}+{version}"));
        assert_eq!(found["APP"], "app-1.8.2+1.8.2");
        assert_eq!(found["PLAIN"], "x");
        let key = |declared: &Declared| {
            let wanted = Wanted::of(declared, "r.test/app:1").map(|wanted| Wanted {
                version: "1",
                ..wanted
            });
            Inputs::of(wanted.unwrap(), "builder").short().to_owned()
        };
        let (first, second) = (built("1.8.2", "{version}"), built("1.8.3", "{version}"));
        assert_ne!(key(&first), key(&second));
        assert_eq!(
            key(&first),
            key(&built("1.8.2", "1.8.2")),
            "its expanded value counts"
        );
    }

    #[test]
    fn the_example_of_the_documentation_becomes_what_one_expects() {
        let billing = declared(BILLING);
        assert_eq!(billing.preset, "phoenix@1");
        assert_eq!(billing.image.reference(), "ghcr.io/acme/billing:1.8.2");
        let web = &billing.processes[&ProcessName::web()];
        assert_eq!(web.replicas, 3);
        let env = |name: &str| web.env.get(&name.parse::<EnvName>().unwrap()).cloned();
        assert_eq!(
            env("PHX_HOST"),
            Some(EnvValue::Literal("billing.acme.com".into()))
        );
        assert_eq!(env("PORT"), Some(EnvValue::Literal("4000".into())));
        assert_eq!(env("PHX_SERVER"), Some(EnvValue::Literal("true".into())));
        assert!(matches!(env("RELEASE_COOKIE"), Some(EnvValue::Generate(_))));
        let migrate = billing.migrate.as_ref().unwrap();
        assert_eq!(
            migrate.command.as_deref(),
            Some(&["/app/bin/migrate".to_owned()][..])
        );
        let names: Vec<&str> = migrate.env.keys().map(EnvName::as_str).collect();
        assert!(
            names.contains(&"DATABASE_URL")
                && names.contains(&"SECRET_KEY_BASE")
                && names.contains(&"SLIPWAY_TASK")
        );
        assert!(
            !names.contains(&"PHX_SERVER") && !names.contains(&"PORT"),
            "a migration must not serve"
        );
        assert_eq!(billing.exposure.unwrap().host, "billing.acme.com");
    }

    #[test]
    fn without_a_version_nothing_is_deployed() {
        assert_eq!(
            declare(&"a".parse().unwrap(), &spec("image: ghcr.io/acme/a\nport: 80\n")),
            Ok(None)
        );
    }

    /// Each field of the schema with a value that must show in what is declared.
    const FIELDS: [(&str, &str); 32] = [
        ("preset", "preset: nextjs@1"),
        ("version", "version: 2.0.0"),
        ("image", "image: ghcr.io/acme/other"),
        ("pullSecret", "pullSecret: registry"),
        ("source", "source: {git: 'https://git.example.com/acme/app.git'}"),
        ("match", "match: {version: enforce}"),
        (
            "build",
            "source: {git: 'https://git.example.com/acme/app.git'}\nbuild: {target: other}",
        ),
        ("command", "command: [/serve]"),
        ("args", "args: [--now]"),
        ("port", "port: 9000"),
        ("host", "host: other.acme.com"),
        ("ingress", "host: a.acme.com\ningress: {class: nginx}"),
        ("replicas", "replicas: 7"),
        ("resources", "resources: {requests: {cpu: 300m}}"),
        ("env", "env: {GREETING: hello}"),
        ("envFrom", "envFrom: [{secret: app}]"),
        ("files", "files: {/run/key: {secret: app/key}}"),
        ("requires", "requires: [PORT]"),
        ("rotate", "rotate: 1"),
        ("writable", "writable: {/data: 1Gi}"),
        ("security", "security: {runAsUser: 1234}"),
        ("health", "health: /ready"),
        ("processes", "processes: {jobs: {args: [work]}}"),
        ("migrate", "migrate: [/migrate]"),
        ("rollout", "rollout: {deadline: 1m}"),
        ("verify", "verify: {window: 5s}"),
        ("onFailure", "onFailure: hold"),
        ("onSecretChange", "onSecretChange: ignore"),
        ("suspend", "suspend: {reason: a freeze}"),
        ("retain", "retain: {revisions: 9}"),
        ("adopt", "adopt: 1"),
        ("repin", "repin: 1"),
    ];

    #[test]
    fn a_list_that_begins_with_eval_is_for_the_script_that_is_the_entrypoint() {
        let base = "image: ghcr.io/acme/a\nversion: 1.0.0\nenv: {DATABASE_URL: {secret: a/url}}\n";
        let of = |preset: &str, more: &str| {
            let migrate = declared(&format!("{base}preset: {preset}\n{more}\n"))
                .migrate
                .unwrap();
            (migrate.command, migrate.args)
        };
        let words = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect::<Vec<_>>());
        for preset in ["phoenix", "worker"] {
            assert_eq!(
                of(preset, "migrate: [eval, Shop.Release.migrate]"),
                (None, words(&["eval", "Shop.Release.migrate"])),
                "{preset}"
            );
        }
        assert_eq!(of("phoenix", ""), (words(&["/app/bin/migrate"]), None));
        for command in ["[/app/bin/shop, eval, M.run]", "{command: [eval, M.run]}"] {
            let (command, args) = of("phoenix", &format!("migrate: {command}"));
            assert!(command.is_some() && args.is_none());
        }
    }

    #[test]
    fn what_kubernetes_would_refuse_is_refused_before_the_commit() {
        let base = "image: ghcr.io/acme/a\nversion: 1.0.0\nport: 8080\n";
        for (extra, start) in [
            (
                "host: 10.0.0.1",
                "spec.host: must be the name of a host: an Ingress takes no address",
            ),
            ("host: \"*.0.0.1\"", "spec.host: must be the name of a host"),
            (
                "host: a.example.com\ningress: {class: Nginx_}",
                "spec.ingress.class: must consist of lower-case",
            ),
            (
                "files: {/etc: {secret: s/k}}",
                "spec.files./etc: is a directory: give the path of a file in it, such as /etc/key.pem",
            ),
            ("files: {/app: {secret: s/k}}", "spec.files./app: is a directory"),
            (
                "files: {/: {secret: s/k}}",
                "spec.files./: must be an absolute path",
            ),
            ("command: [\"\"]", "spec.command.0: an empty text is no program"),
            (
                "migrate: {command: [\"\"]}",
                "spec.migrate.command.0: an empty text is no program",
            ),
            (
                "migrate: [\" \", x]",
                "spec.migrate.0: an empty text is no program",
            ),
            (
                "processes: {w: {command: [\"\"]}}",
                "spec.processes.w.command.0: an empty text is no program",
            ),
        ] {
            let said = refused(&format!("{base}{extra}\n"));
            assert!(said.len() == 1 && said[0].starts_with(start), "{extra}: {said:?}");
        }
        for fine in [
            "host: 1.example.com\ningress: {class: nginx.internal}",
            "files: {/etc/app.conf: {secret: s/k}, /app/tls/key.pem: {secret: s/k}}",
            "command: [run, \"\"]\nargs: [\"\"]",
        ] {
            assert_eq!(refused(&format!("{base}{fine}\n")), [] as [&str; 0], "{fine}");
        }
    }

    #[test]
    fn no_field_is_without_effect() {
        let base = "image: ghcr.io/acme/a\nversion: 1.0.0\nport: 8080\n";
        let before = declared(base);
        let merge = |extra: &str| {
            let mut lower: Value = serde_yaml::from_str(base).unwrap();
            let upper: Value = serde_yaml::from_str(extra).unwrap();
            for (name, value) in upper.as_object().unwrap() {
                lower[name] = value.clone();
            }
            serde_yaml::to_string(&lower).unwrap()
        };
        for (field, text) in FIELDS {
            let mut after = declared(&merge(text));
            after.attempt_hash = before.attempt_hash.clone();
            assert_ne!(after, before, "{field} has no effect");
        }
        let attempt = declared(&merge("attempt: 2"));
        assert_eq!(attempt.attempt, 2);
        let crd = serde_json::to_value(crate::api::Release::crd()).unwrap();
        let properties = crd
            .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties")
            .unwrap();
        let schema: BTreeSet<&str> = properties
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let table: BTreeSet<&str> = FIELDS
            .iter()
            .map(|(field, _)| *field)
            .chain(["attempt"])
            .collect();
        assert_eq!(schema, table, "every field of the schema stands in this table");
    }

    #[test]
    fn only_what_pods_and_database_see_makes_another_attempt() {
        let base = declared(BILLING).attempt_hash;
        let with = |line: &str| declared(&format!("{BILLING}{line}\n")).attempt_hash;
        for same in [
            "verify: {window: 5s}",
            "onFailure: hold",
            "onSecretChange: ignore",
            "suspend: {reason: a freeze}",
            "adopt: 1",
            "retain: {revisions: 9}",
            "rollout: {deadline: 1m}",
            "requires: [DATABASE_URL, POOL_SIZE]",
            "rotate: 1",
            "migrate: {retries: 2, lock: a, proof: done, serviceAccount: m, timeout: 5m}",
            "migrate: {compatible: false, resources: {limits: {memory: 2Gi}}}",
        ] {
            assert_eq!(with(same), base, "{same}");
        }
        assert_eq!(
            declared(&BILLING.replace("replicas: 3", "replicas: 4")).attempt_hash,
            base
        );
        for other in [
            "attempt: 1",
            "writable: {/data: 1Gi}",
            "migrate: {rerun: 1}",
            "args: [x]",
            "files: {/run/key: {secret: app/key}}",
            "envFrom: [{config: app}]",
        ] {
            assert_ne!(with(other), base, "{other}");
        }
        assert_ne!(
            declared(&BILLING.replace("billing.acme.com", "b.acme.com")).attempt_hash,
            base,
            "PHX_HOST is in the pod"
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let base = "image: ghcr.io/acme/a\nversion: 1.0.0\nport: 8080\n";
        for (extra, place) in [
            ("replicas: -1", "spec.replicas"),
            ("replicas: 100000", "spec.replicas"),
            ("host: 'https://x'", "spec.host"),
            ("ingress: {class: x}", "spec.ingress"),
            ("writable: {../x: 1Gi}", "spec.writable"),
            ("writable: {/x: 1e100}", "spec.writable"),
            ("security: {runAsUser: 0}", "spec.security.runAsUser"),
            ("env: {KUBERNETES_X: a}", "spec.env.KUBERNETES_X"),
            ("env: {LD_PRELOAD: a}", "spec.env.LD_PRELOAD"),
            ("env: {PORT: '1'}", "spec.env.PORT"),
            ("env: {DB_PASSWORD: hunter22}", "spec.env.DB_PASSWORD"),
            ("processes: {web: {}}", "spec.processes.web"),
            ("rollout: {surge: '0'}", "spec.rollout"),
            ("migrate: {timeout: 1m}", "spec.migrate"),
            ("migrate: {args: [m], retries: 11}", "spec.migrate.retries"),
            ("migrate: {args: [m], lock: ''}", "spec.migrate.lock"),
            ("migrate: {args: [m], proof: ' '}", "spec.migrate.proof"),
            (
                "migrate: {args: [m], serviceAccount: A_B}",
                "spec.migrate.serviceAccount",
            ),
            (
                "migrate: {args: [m], resources: {limits: {memory: much}}}",
                "spec.migrate.resources.limits.memory",
            ),
            (
                "migrate: {args: [m], resources: {limits: {ephemeral-storage: 1Gi}}}",
                "spec.migrate.resources.limits.ephemeral-storage",
            ),
            ("health: health", "spec.health"),
            ("files: {run/key: {secret: a/b}}", "spec.files.run/key"),
            ("files: {/run/../key: {secret: a/b}}", "spec.files./run/../key"),
            ("files: {/usr/bin/app: {secret: a/b}}", "spec.files./usr/bin/app"),
            ("files: {/etc/hosts: {config: a/b}}", "spec.files./etc/hosts"),
            ("files: {/tmp: {secret: a/b}}", "spec.files./tmp"),
            ("files: {/a: {secret: a/b}, /a/b: {secret: a/b}}", "spec.files./a"),
            ("files: {/a: {secret: a/b, config: a/b}}", "spec.files./a"),
            ("files: {/a: {}}", "spec.files./a"),
            ("files: {/a: {secret: a}}", "spec.files./a.secret"),
            (
                "files: {/a: {secret: slipway-hash-key/key}}",
                "spec.files./a.secret",
            ),
            ("pullSecret: slipway-keys", "spec.pullSecret"),
            ("pullSecret: default-token-x7k2p", "spec.pullSecret"),
            (
                "files: {/a: {secret: builder-token-zx9wq/token}}",
                "spec.files./a.secret",
            ),
            ("envFrom: [{}]", "spec.envFrom.0"),
            ("envFrom: [{secret: A_B}]", "spec.envFrom.0.secret"),
            ("envFrom: [{secret: slipway-x}]", "spec.envFrom.0.secret"),
            ("envFrom: [{secret: a, prefix: 1_}]", "spec.envFrom.0.prefix"),
            (
                "envFrom: [{secret: a, prefix: SLIPWAY_}]",
                "spec.envFrom.0.prefix",
            ),
            ("envFrom: [{secret: a}, {secret: a}]", "spec.envFrom.1"),
            (
                "envFrom: [{secret: a}]\nargs: ['--token=$(TOKEN)']",
                "spec.args.0",
            ),
            ("requires: [API_KEY]", "spec.requires.0"),
            ("requires: ['a b']", "spec.requires.0"),
            ("requires: [X]\nenv: {X: ''}", "spec.env.X"),
            ("rotate: -1", "spec.rotate"),
            ("suspend: {until: '2026-12-01T08:00:00Z'}", "spec.suspend.reason"),
            ("suspend: {reason: a, until: tomorrow}", "spec.suspend.until"),
        ] {
            let problems = refused(&format!("{base}{extra}\n"));
            assert!(
                problems.iter().any(|p| p.starts_with(place)),
                "{extra}: {problems:?}"
            );
        }
        assert!(
            refused("image: a\nversion: 1.0.0\n")
                .iter()
                .any(|p| p.contains("port is required"))
        );
        assert!(
            refused("image: a\nversion: 1.0.0\npreset: phoenix\n")
                .iter()
                .any(|p| p.contains("DATABASE_URL"))
        );
        let next = "image: a\nversion: 1.0.0\npreset: nextjs\nenv: {NEXT_PUBLIC_X: a}\n";
        assert!(refused(next).iter().any(|p| p.contains("built")));
    }

    #[test]
    fn what_a_release_requires_replaces_what_its_preset_does() {
        let phoenix = "image: a\nversion: 1.0.0\npreset: phoenix\n";
        let required = |extra: &str| -> Vec<String> {
            let declared = declared(&format!("{phoenix}{extra}\n"));
            declared.requires.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            required("env: {DATABASE_URL: {secret: db/url}}"),
            ["DATABASE_URL"]
        );
        assert_eq!(required("requires: []\nmigrate: false"), [""; 0]);
        assert_eq!(required("requires: [SECRET_KEY_BASE]"), ["SECRET_KEY_BASE"]);
        // A whole Secret may hold it; that is known when it is read.
        assert_eq!(required("envFrom: [{secret: app}]"), ["DATABASE_URL"]);
        let other = format!("{phoenix}envFrom: [{{secret: app, prefix: APP_}}]\n");
        assert!(refused(&other).iter().any(|p| p.contains("DATABASE_URL")));
    }

    #[test]
    fn a_file_may_lie_below_a_writable_path_and_in_etc() {
        let files = "files: {/tmp/key: {secret: a/b}, /etc/app/app.toml: {config: a/b}}";
        let declared = declared(&format!("image: a\nversion: 1.0.0\nport: 80\n{files}\n"));
        assert_eq!(declared.files.len(), 2);
    }

    #[test]
    fn more_keys_than_a_revision_has_room_for_are_refused() {
        let keys = |count: usize| -> String {
            let all: Vec<String> = (0..count).map(|n| format!("A{n}: {{secret: a/k{n}}}")).collect();
            format!("{{{}}}", all.join(", "))
        };
        let with = |count: usize| {
            format!(
                "image: a\nversion: 1.0.0\nport: 80\nenv: {}\nprocesses: {{jobs: {{env: {}}}}}\n",
                keys(150),
                keys(count).replace("a/k", "b/k")
            )
        };
        assert_eq!(declared(&with(150)).process_keys("x").len(), 300);
        assert!(refused(&with(151)).iter().any(|p| p.contains("at most 300")));
    }

    #[test]
    fn a_worker_serves_nothing() {
        let worker = declared("preset: worker\nimage: ghcr.io/acme/a\nversion: 1.0.0\n");
        assert!(worker.port.is_none() && worker.probe.is_none());
        assert_eq!(
            worker
                .processes
                .keys()
                .map(ProcessName::as_str)
                .collect::<Vec<_>>(),
            ["worker"]
        );
    }

    #[test]
    fn a_value_that_names_a_variable_of_the_release_is_refused_since_nothing_is_put_into_it() {
        let base = "image: a\nversion: 1.0.0\nport: 80\n";
        for (extra, place) in [
            (
                "env: {PASSWORD: {secret: db/password}, DATABASE_URL: 'ecto://app:$(PASSWORD)@db/shop'}",
                "spec.env.DATABASE_URL: the program would get $(PASSWORD) as it is written",
            ),
            ("env: {A: x, B: {value: 'a $(A)', public: true}}", "spec.env.B"),
            ("env: {URL: 'http://x:$(PORT)'}", "spec.env.URL"),
            ("env: {PATH: '/app:$(PATH)'}", "spec.env.PATH"),
            (
                "envFrom: [{secret: db, prefix: DB_}]\nenv: {URL: 'x$(DB_PASSWORD)'}",
                "spec.env.URL",
            ),
            ("env: {A: '$(B)'}\nprocesses: {jobs: {env: {B: x}}}", "spec.env.A"),
            (
                "env: {B: x}\nprocesses: {jobs: {env: {A: '$(B)'}}}",
                "spec.processes.jobs.env.A",
            ),
            (
                "env: {B: x}\nmigrate: {args: [m], env: {A: '$(B)'}}",
                "spec.migrate.env.A",
            ),
        ] {
            let problems = refused(&format!("{base}{extra}\n"));
            assert!(
                problems.len() == 1 && problems[0].starts_with(place),
                "{extra}: {problems:?}"
            );
        }
        for fine in [
            "env: {A: x, B: '$$(A)', C: '$A', D: '${A}', E: '$(a)', F: 'from $(5)', G: '$(OTHER)'}",
            "envFrom: [{secret: db}]\nenv: {A: 'echo $(date)'}",
            "envFrom: [{secret: db, prefix: DB_}]\nenv: {A: '$(PASSWORD)'}",
            "env: {A: x}\nargs: ['--a=$(A)']",
        ] {
            assert_eq!(refused(&format!("{base}{fine}\n")), [""; 0], "{fine}");
        }
    }

    #[test]
    fn a_secret_whose_name_only_ends_like_a_token_is_the_applications() {
        for name in [
            "api-token-prod1",
            "stripe-token",
            "default-token",
            "slipway",
            "my-token-secret",
        ] {
            let text = format!("image: a\nversion: 1.0.0\nport: 80\npullSecret: {name}\n");
            assert_eq!(refused(&text), [""; 0], "{name}");
        }
    }
}
