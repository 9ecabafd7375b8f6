//! Two applications as people write them, built in the cluster from their repositories without an image from elsewhere, and
//! asked over HTTP: an Elixir release with its database, and Next.js. The machine of a test is busy, so what builds cost is
//! printed and not judged.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::support::{
    Asker, Case, Mark, Repo, bed_dir, credentials, exec, exec_in, list, repository, shared, shop, source,
    wait, watch_build,
};

/// A text that nobody else has.
fn token(name: &str) -> String {
    let nanoseconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!("{name}-{}-{nanoseconds}", std::process::id())
}

/// What the registry has under a tag: the digest of its index or manifest, and the size of the image for this machine in MiB.
fn pushed(ns: &str, version: &str) -> (String, u64) {
    let repository = format!("https://registry.bed.test:5000/v2/{}", repository(ns));
    let authority = bed_dir().join("certs.d/registry.bed.test:5000/ca.crt");
    let ask = |more: &[&str]| {
        let always = ["curl", "--silent", "--show-error", "--fail", "--cacert"];
        exec(&[&always[..], &[authority.to_str().unwrap()], more].concat())
    };
    let get = |reference: &str| -> Value {
        let kinds = [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
        ];
        let accept = format!("Accept: {}", kinds.join(", "));
        let url = format!("{repository}/manifests/{reference}");
        serde_json::from_str(&ask(&["--header", &accept, &url])).unwrap()
    };
    let url = format!("{repository}/manifests/{version}");
    let accept = "Accept: application/vnd.oci.image.index.v1+json";
    let head = ask(&["--head", "--header", accept, &url]);
    let digest = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("docker-content-digest: ")
                .map(str::to_owned)
        })
        .expect("a digest");
    let index = get(version);
    let images = index["manifests"]
        .as_array()
        .expect("an index with its provenance")
        .clone();
    // What says how it was made is no image of any machine.
    let others = images
        .iter()
        .filter(|image| image["platform"]["architecture"] == "unknown");
    assert_eq!(others.count(), 1, "{index}");
    let own = images
        .iter()
        .find(|image| image["platform"]["architecture"] != "unknown")
        .unwrap();
    let manifest = get(own["digest"].as_str().unwrap());
    let layers = manifest["layers"].as_array().unwrap();
    let size: u64 = layers.iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    (digest.trim().to_owned(), size >> 20)
}

fn newest(case: &Case) -> Value {
    case.revisions().pop().unwrap()
}

/// Nobody has given this text to a pod: it is in the image.
fn is_given_to_no_pod(case: &Case, text: &str) {
    let pods = list("pod", &case.ns, "slipway.dev/release=app");
    assert!(!pods.is_empty());
    for pod in &pods {
        assert!(!pod["spec"].to_string().contains(text));
    }
    let environment = exec_in(case, &["sh", "-c", "tr '\\0' '\\n' </proc/1/environ"]).unwrap();
    assert!(environment.contains("PATH="), "{environment}");
    assert!(!environment.contains(text));
}

/// The shop from its source, whose images go to a repository of this test.
fn of_shop(ns: &str, app: &Repo, more: &str) -> String {
    credentials(ns, app.https());
    format!(
        "{}  source: {{git: {}, secret: {ns}}}\n  build:\n    args:\n      BUILDER_IMAGE: registry.bed.test:5000/bed/builder:1\n      \
         RUNNER_IMAGE: registry.bed.test:5000/bed/runner:1\n      VERSION: \"{{version}}\"\n{more}",
        shop(ns).replace("acme/shop", &repository(ns)),
        app.https(),
    )
}

#[test]
fn an_elixir_release_is_built_from_git_pushed_migrated_and_live_and_its_next_version_finds_steps_in_the_cache()
 {
    let _services = shared();
    let ns = "shop-source";
    let app = Repo::new("shop-source-app");
    let case = Case::new(ns, &of_shop(ns, &app, ""));
    let mut commits = Vec::new();
    for (version, schema) in [("1.0.0", 1), ("1.1.0", 2)] {
        let token = token(version);
        commits.push(source(&app, "shop", version, ("priv/token.txt", &token)));
        case.declare(version, &format!("version: {version}"));
        let figures = watch_build(&case, "Live", version);
        let (digest, size) = pushed(ns, version);
        println!("shop {version}: {figures}, an image of {size} MiB");
        let revision = newest(&case);
        let image = &revision["spec"]["image"];
        assert_eq!(image["digest"], digest.as_str());
        assert_eq!(image["sourceCommit"], commits.last().unwrap().as_str());
        assert_eq!(
            revision["status"]["migration"]["state"], "succeeded",
            "{revision}"
        );
        let page = case.ask("/");
        let head = format!("version: {version}\nschema: {schema}\n");
        assert!(page.starts_with(&head), "{page}");
        assert_eq!(case.ask("/token"), token);
        is_given_to_no_pod(&case, &token);
        assert_eq!(figures.cached > 0, version != "1.0.0", "{}", figures.log);
    }
    // The former image can be gone back to without another build.
    case.declare("back", "version: 1.0.0");
    case.live("1.0.0");
    assert!(case.ask("/").starts_with("version: 1.0.0\n"));
    case.end();
}

#[test]
fn both_shapes_of_an_image_migrate_with_and_without_an_entrypoint() {
    let _services = shared();
    for (ns, shape, migrate) in [
        ("shop-cmd", "", "[/app/bin/migrate]"),
        (
            "shop-entry",
            "ENTRYPOINT [\"/app/bin/shop\"]\nCMD [\"start\"]\n",
            "[eval, \"Shop.Release.migrate\"]",
        ),
    ] {
        let app = Repo::new(&format!("{ns}-app"));
        let token = token(ns);
        source(&app, "shop", "1.0.0", ("priv/token.txt", &token));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop/Dockerfile");
        let dockerfile = std::fs::read_to_string(path).unwrap();
        let dockerfile = if shape.is_empty() {
            dockerfile
        } else {
            let (head, _) = dockerfile.rsplit_once("CMD ").unwrap();
            format!("{head}{shape}")
        };
        app.write("Dockerfile", &dockerfile);
        app.commit("its shape");
        app.tag("v1.0.0");
        let case = Case::new(ns, &of_shop(ns, &app, &format!("  migrate: {migrate}\n")));
        case.declare("1.0.0", "version: 1.0.0");
        watch_build(&case, "Live", "1.0.0");
        assert_eq!(case.ask("/token"), token);
        assert!(case.ask("/").contains("schema: 1\n"));
        case.end();
    }
}

fn of_storefront(ns: &str, app: &Repo) -> String {
    credentials(ns, app.https());
    format!(
        "apiVersion: slipway.dev/v1alpha1
kind: Release
metadata: {{name: app, namespace: {ns}}}
spec:
  preset: nextjs
  image: registry.bed.test:5000/{}
  health: /healthz
  source: {{git: {}, secret: {ns}}}
  build:
    args:
      BUILDER_IMAGE: registry.bed.test:5000/bed/node:1
      RUNNER_IMAGE: registry.bed.test:5000/bed/node-runner:1
      NEXT_PUBLIC_VERSION: \"{{version}}\"
      NEXT_PUBLIC_GREETING: Welcome to the bed
  rollout: {{minReady: 2s, drain: 30s, deadline: 4m}}
  verify: {{window: 5s}}
",
        repository(ns),
        app.https(),
    )
}

/// What stands in an element with this id.
fn element<'a>(page: &'a str, id: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("id=\"{id}\"")).expect(id);
    let (_, rest) = rest.split_once('>').unwrap();
    rest.split('<').next().unwrap()
}

/// A form is sent as a browser without scripts sends it: with the hidden fields of the page.
fn sign(case: &Case, name: &str) -> String {
    let page = case.ask("/guestbook");
    let (_, form) = page.split_once("<form").expect("a form");
    let form = form.split("</form>").next().unwrap();
    let field = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!("{name}=\""))?;
        Some(rest.split('"').next()?.to_owned())
    };
    let hidden: Vec<String> = form
        .split("<input")
        .skip(1)
        .filter(|tag| tag.contains("type=\"hidden\""))
        .filter_map(|tag| {
            let value = field(tag, "value").unwrap_or_default().replace("&quot;", "\"");
            Some(format!("{}={value}", field(tag, "name")?))
        })
        .collect();
    assert!(!hidden.is_empty(), "{page}");
    let url = format!("http://{}/guestbook", case.service_ip());
    let mut arguments = vec![
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--location",
        "--max-time",
        "20",
    ];
    for one in &hidden {
        arguments.extend(["--form-string", one]);
    }
    let name = format!("name={name}");
    arguments.extend(["--form-string", &name, &url]);
    exec(&arguments)
}

fn is_rendered_anew(case: &Case) {
    let rendered = || element(&case.ask("/offers"), "rendered").to_owned();
    let first = rendered();
    wait("a page is rendered anew", || (rendered() != first).then_some(()));
    let pods = list("pod", &case.ns, "slipway.dev/release=app");
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let log = exec(&["kubectl", "-n", &case.ns, "logs", name]);
        assert!(!log.contains("Failed to update prerender cache"), "{log}");
        assert!(!log.contains("EROFS"), "{log}");
    }
}

fn is_hardened(case: &Case) {
    let pod = list("pod", &case.ns, "slipway.dev/release=app,slipway.dev/process=web")
        .pop()
        .unwrap();
    let spec = &pod["spec"];
    let container = &spec["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{spec}");
    let hostname = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "HOSTNAME");
    assert_eq!(hostname.unwrap()["value"], "0.0.0.0");
    let mode = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "NODE_ENV");
    assert_eq!(mode.unwrap()["value"], "production");
    let user = exec_in(case, &["id", "-u"]).unwrap();
    assert_eq!(user.trim(), "1001");
    let refused = exec_in(case, &["sh", "-c", "echo x >/app/server.js"]).unwrap_err();
    assert!(refused.contains("Read-only file system"), "{refused}");
    exec_in(
        case,
        &[
            "sh",
            "-c",
            "echo x >/app/.next/cache/written && rm /app/.next/cache/written",
        ],
    )
    .unwrap();
}

/// Steps follow each other quickly, and a build takes minutes: who watches it is told, and the API server is left alone.
fn how_far_it_is_is_told_every_ten_seconds(told: &[(Timestamp, String)]) {
    let of_a_step = |(_, words): &&(Timestamp, String)| words.contains("npm") || words.contains("next build");
    assert!(told.iter().any(|told| of_a_step(&told)), "{told:#?}");
    for pair in told.windows(2) {
        let pause = pair[1].0.duration_since(pair[0].0);
        assert!(pause.as_secs() >= 9, "{told:#?}");
    }
}

#[test]
fn a_next_application_is_built_from_git_hardened_rendered_anew_and_updated_without_a_failed_request() {
    let _services = shared();
    let ns = "storefront-source";
    let app = Repo::new("storefront-source-app");
    let case = Case::new(ns, &of_storefront(ns, &app));
    let first = token("1.0.0");
    source(&app, "storefront", "1.0.0", ("token.txt", &first));
    let since = Mark::now();
    case.declare("1.0.0", "version: 1.0.0");
    let figures = watch_build(&case, "Live", "1.0.0");
    how_far_it_is_is_told_every_ten_seconds(&since.told(ns, "Building"));
    let (_, size) = pushed(ns, "1.0.0");
    let on_record = newest(&case)["spec"]["image"]["size"].as_u64();
    assert_eq!(on_record.map(|bytes| bytes >> 20), Some(size));
    println!("storefront 1.0.0: {figures}, an image of {size} MiB");
    let page = case.ask("/");
    assert_eq!(element(&page, "version"), "1.0.0");
    assert_eq!(element(&page, "token"), first);
    assert_eq!(element(&page, "greeting"), "Welcome to the bed");
    // `deploymentId`: a browser that has pages of the version before is told to load them anew.
    assert!(page.contains("dpl=1-0-0"), "{page}");
    let made = &newest(&case)["spec"]["image"];
    let locks = made["locks"].as_str().unwrap_or_default();
    assert!(locks.starts_with("package-lock.json sha256:"), "{made}");
    let base = made["base"].to_string();
    for image in ["bed/node:1@sha256:", "bed/node-runner:1@sha256:"] {
        assert!(base.contains(image), "{made}");
    }
    is_given_to_no_pod(&case, &first);
    is_hardened(&case);
    is_rendered_anew(&case);
    // Each pod keeps its own list, so the answer to the form is what has the name.
    assert!(sign(&case, "Ada").contains("Ada"));

    // What is under way when its pod is told to stop comes to its end, and nobody who comes anew is turned away.
    let url = |path: &str| format!("http://{}{path}", case.service_ip());
    let (quick, slow) = (
        Asker::new(&url("/healthz"), "20"),
        Asker::new(&url("/slow?ms=3000"), "2"),
    );
    let second = token("1.1.0");
    source(&app, "storefront", "1.1.0", ("token.txt", &second));
    case.declare("1.1.0", "version: 1.1.0");
    let figures = watch_build(&case, "Live", "1.1.0");
    let (_, size) = pushed(ns, "1.1.0");
    println!("storefront 1.1.0: {figures}, an image of {size} MiB");
    assert!(figures.cached > 0, "{}", figures.log);
    std::thread::sleep(Duration::from_secs(10));
    for (what, client, least) in [("quick", quick, 15.0), ("slow", slow, 1.5)] {
        let seen = client.end();
        println!("storefront, a rolling update, {what}: {seen}");
        assert_eq!(seen["errors"], json!({}), "{seen}");
        assert_eq!(seen["asked"], seen["ok"], "{seen}");
        let rate = seen["asked"].as_f64().unwrap() / seen["seconds"].as_f64().unwrap();
        assert!(rate >= least, "{rate:.1} requests/s: {seen}");
        assert!(seen["refused_retried"].as_i64().unwrap() <= 5, "{seen}");
        let versions = seen["versions"].as_object().unwrap();
        let both = ["1.0.0", "1.1.0"].iter().all(|version| {
            let is = |answer: &String| answer.contains(version);
            versions.keys().any(is)
        });
        assert!(what == "slow" || (both && versions.len() == 2), "{seen}");
    }
    let page = case.ask("/");
    assert_eq!(element(&page, "token"), second);
    assert!(page.contains("we deliver for nothing"), "{page}");

    let served = case.pod_identities();
    for (version, phase, build, words) in [
        (
            "1.2.0",
            "Failed(BuildFailed)",
            "{testTarget: test}",
            &["tests failed", "npm test"][..],
        ),
        (
            "1.3.0",
            "Failed(BuildFailed)",
            "{}",
            &["ended with exit code 1", "of the Dockerfile)"],
        ),
    ] {
        source(&app, "storefront", version, ("token.txt", "another"));
        case.declare(version, &format!("version: {version}\nbuild: {build}"));
        watch_build(&case, phase, version);
        let message = case.message();
        assert!(words.iter().all(|words| message.contains(words)), "{message}");
        assert_eq!(
            case.pod_identities(),
            served,
            "{version}: what serves is left alone"
        );
    }
    assert_eq!(element(&case.ask("/"), "token"), second);
    case.end();
}
