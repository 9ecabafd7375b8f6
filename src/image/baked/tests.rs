//! What is found in an image, and that it is never repeated.

use serde_json::json;

use super::*;

const TOKEN: &str = "ghp_0123456789abcdefghij0123456789abcdef";
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop";
const OWN: &str = "canary-7f3a91c2-own-value";

fn declared(fields: &str) -> Declared {
    let base = "image: ghcr.io/acme/a\nversion: 1.0.0\nport: 8080\n";
    let spec = serde_yaml::from_str(&format!("{base}{fields}\n")).unwrap();
    crate::spec::declare(&"app".parse().unwrap(), &spec)
        .unwrap()
        .unwrap()
}

fn own(values: &[(&str, &str)]) -> Vec<(String, SecretString)> {
    let named = |(reference, value): &(&str, &str)| ((*reference).to_owned(), SecretString::from(*value));
    values.iter().map(named).collect()
}

/// What is found in an image with these variables and steps, as `weight: words`.
fn found_by(fields: &str, values: &[(&str, &str)], env: &[&str], steps: &[&str]) -> Vec<String> {
    let steps: Vec<Value> = steps.iter().map(|step| json!({ "created_by": step })).collect();
    let texts = Texts::of(&json!({ "Env": env }), &json!(steps));
    let own = Own {
        values: &own(values),
        declared: &declared(fields),
    };
    let found = find(&[texts], &own);
    found
        .iter()
        .map(|found| format!("{:?}: {}", found.weight, found.words))
        .collect()
}

fn found(env: &[&str], steps: &[&str]) -> Vec<String> {
    found_by("", &[("Secret app/token", OWN)], env, steps)
}

#[test]
fn a_value_of_the_releases_own_is_refused_wherever_it_stands() {
    for (env, steps, place) in [
        (vec![format!("A={OWN}")], vec![], "the variable A"),
        (
            vec![format!("A=https://x/?key={OWN}&y")],
            vec![],
            "the variable A",
        ),
        (
            vec![],
            vec!["FROM x".to_owned(), format!("RUN |1 A={OWN} /bin/sh -c make")],
            "step 2 of its history",
        ),
    ] {
        let env: Vec<&str> = env.iter().map(String::as_str).collect();
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        assert_eq!(
            found(&env, &steps),
            [format!("Refused: {place} holds the value of Secret app/token")]
        );
    }
    let texts = Texts::of(
        &json!({ "Labels": { "org.example/a": OWN }, "Cmd": ["serve", OWN] }),
        &Value::Null,
    );
    let own = Own {
        values: &own(&[("Secret app/token", OWN)]),
        declared: &declared(""),
    };
    assert_eq!(
        find(&[texts], &own)[0].words,
        "the label org.example/a holds the value of Secret app/token",
        "and it is told once"
    );
}

#[test]
fn the_password_of_a_url_is_a_value_of_its_own() {
    let url = format!("ecto://app:{OWN}@db.example.com/shop");
    let said = found_by(
        "",
        &[("Secret app-db/url", &url)],
        &[&format!("PGPASSFILE_CONTENT={OWN}")],
        &[],
    );
    assert_eq!(
        said,
        ["Refused: the variable PGPASSFILE_CONTENT holds the value of Secret app-db/url"]
    );
}

#[test]
fn short_values_match_by_chance_and_count_for_nothing() {
    let said = found_by(
        "",
        &[("Secret app/port", "8080"), ("Secret app/mode", "production")],
        &["PORT=8080", "MODE=production"],
        &[],
    );
    assert_eq!(said, [""; 0]);
}

#[test]
fn typed_tokens_are_refused_in_variables_labels_commands_and_history() {
    for step in [
        format!("RUN |1 NPM_TOKEN={TOKEN} /bin/sh -c npm ci # buildkit"),
        format!("/bin/sh -c #(nop)  ENV A={TOKEN}"),
        format!("RUN /bin/sh -c curl -H 'Authorization: Bearer {TOKEN}' https://x"),
        format!("RUN /bin/sh -c git clone https://{TOKEN}@github.com/a/b"),
        format!("RUN /bin/sh -c curl -H \"Authorization: Bearer {JWT}\" https://x"),
        "RUN /bin/sh -c echo '-----BEGIN RSA PRIVATE KEY----- MIIB' > /k".to_owned(),
    ] {
        let said = found(&[], &[&step]);
        assert!(
            said.len() == 1 && said[0].starts_with("Refused: step 1 of its history holds a"),
            "{step}: {said:?}"
        );
        let repeated = [TOKEN, JWT, "MIIB"].iter().any(|value| said[0].contains(value));
        assert!(!repeated, "{said:?}");
    }
    let said = found(&["AWS=AKIAIOSFODNN7EXAMPLE"], &[]);
    assert_eq!(said, ["Refused: the variable AWS holds an AWS access key"]);
    let texts = Texts::of(
        &json!({ "Labels": { "a": TOKEN }, "Cmd": ["serve", "--token", "hunter22hunter22"] }),
        &Value::Null,
    );
    let own = Own {
        values: &[],
        declared: &declared(""),
    };
    let said: Vec<String> = find(&[texts], &own)
        .into_iter()
        .map(|found| found.words)
        .collect();
    assert_eq!(
        said,
        [
            "the label a holds a GitHub token",
            "its command holds a text under a name that contains TOKEN"
        ]
    );
}

#[test]
fn what_only_looks_like_a_secret_is_a_warning() {
    assert_eq!(
        found(
            &[
                "DATABASE_URL=ecto://app:hunter22@db/shop",
                "SMTP_PASSWORD=hunter22"
            ],
            &["RUN |1 API_KEY=hunter22 /bin/sh -c make"]
        ),
        [
            "Warned: step 1 of its history holds a text under a name that contains API_KEY",
            "Warned: the variable DATABASE_URL holds a URL with a password",
            "Warned: the variable SMTP_PASSWORD holds a text under a name that contains PASSWORD",
        ]
    );
}

#[test]
fn a_step_that_sets_a_variable_is_told_by_the_variable() {
    assert_eq!(
        found(&["SMTP_PASSWORD=hunter22"], &["ENV SMTP_PASSWORD=hunter22"]),
        ["Warned: the variable SMTP_PASSWORD holds a text under a name that contains PASSWORD"]
    );
    assert_eq!(
        found(&["SMTP_PASSWORD=hunter22"], &["ENV SMTP_PASSWORD=hunter33"]).len(),
        2,
        "another value was there once, and is in the image still"
    );
}

#[test]
fn what_pods_are_given_in_place_of_the_images_is_only_told() {
    for fields in ["", "env: {SESSION_SALT: {secret: app/salt}}"] {
        let weight = if fields.is_empty() { "Warned" } else { "Told" };
        let said = found_by(fields, &[], &["SESSION_SALT=hunter22hunter22"], &[]);
        assert!(said[0].starts_with(weight), "{fields}: {said:?}");
    }
    let said = found(&["RELEASE_COOKIE=Zm9vYmFyYmF6"], &[]);
    assert_eq!(
        said,
        ["Told: the variable RELEASE_COOKIE holds a text under a name that contains COOKIE"]
    );
}

#[test]
fn what_browsers_are_sent_is_not_refused_and_what_git_declares_public_is_no_finding() {
    let env = [&*format!("NEXT_PUBLIC_KEY={JWT}")];
    let step = [&*format!("RUN |1 VITE_KEY={JWT} /bin/sh -c npm run build")];
    assert!(found(&env, &[])[0].starts_with("Warned: the variable NEXT_PUBLIC_KEY"));
    assert!(found(&[], &step)[0].starts_with("Warned: step 1"));
    let fields = format!("env: {{ANON_KEY: {{value: {JWT}, public: true}}}}");
    assert_eq!(found_by(&fields, &[], &env, &step), [""; 0]);
    // A value of the release's own is one, whatever it is called.
    let env = [&*format!("NEXT_PUBLIC_KEY={OWN}")];
    assert!(found(&env, &[])[0].starts_with("Refused"));
}

#[test]
fn ordinary_images_hold_nothing() {
    let env = [
        "PATH=/usr/local/sbin:/usr/bin",
        "LANG=C.UTF-8",
        "GPG_KEY=E3FF2839C048B25C084DEBE9B26995E310250568",
        "PYTHON_SHA256=2ab91ff401783ccca64f75d10c882e957bdfd60e2bf5a72f8421793729b78a71",
        "TOKEN_TTL=3600",
        "SECRET_FILE=/run/secrets/key",
        "URL=https://app@example.com/x",
    ];
    let steps = [
        "/bin/sh -c #(nop) ADD file:0eae0dca665c7044bf242cb1fc92cb8ea744f5af2dd376a558c90bc47349aefe in / ",
        "RUN /bin/sh -c set -eux; apt-get install -y --no-install-recommends ca-certificates # buildkit",
        "RUN --mount=type=secret,id=npm_token /bin/sh -c NPM_TOKEN=$(cat /run/secrets/npm_token) npm ci",
        "RUN |1 SECRET_KEY_BASE_DUMMY=1 /bin/sh -c ./bin/rails assets:precompile",
        "ARG NPM_TOKEN",
        "CMD [\"/app/bin/server\"]",
    ];
    assert_eq!(found(&env, &steps), [""; 0]);
}

#[test]
fn texts_of_any_form_and_length_are_taken() {
    for config in [
        json!(null),
        json!({ "Env": null, "Labels": [], "Cmd": "x" }),
        json!({ "Env": [1, "NO_EQUALS_SIGN", null], "Labels": { "a": 5 } }),
    ] {
        let texts = Texts::of(&config, &json!([{ "created_by": 7 }, null, "x"]));
        let own = Own {
            values: &[],
            declared: &declared(""),
        };
        assert!(find(&[texts], &own).is_empty());
    }
    let long = format!("A={}", "x ".repeat(MOST));
    let said = found(&[&long, "SMTP_PASSWORD=hunter22"], &[]);
    assert_eq!(
        said,
        [
            "Warned: its config holds more than 1024 KiB of texts, of which not all was searched",
            "Warned: the variable SMTP_PASSWORD holds a text under a name that contains PASSWORD",
        ]
    );
    let many: Vec<String> = (0..200).map(|n| format!("A{n}_PASSWORD=hunter22")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(found(&many, &[]).len(), MANY);
}

#[test]
fn no_name_can_forge_a_message_or_be_a_secret_itself() {
    let odd = format!("{TOKEN}={TOKEN}");
    for name in ["A\nB=AKIAIOSFODNN7EXAMPLE", "=AKIAIOSFODNN7EXAMPLE", &odd] {
        let said = found(&[name], &[]);
        assert!(
            said[0].starts_with("Refused: the variable with an odd name holds a"),
            "{said:?}"
        );
    }
    let texts = Texts::of(&json!({ "Env": [format!("A={OWN}")] }), &Value::Null);
    assert!(!format!("{texts:?}").contains("canary"));
}
