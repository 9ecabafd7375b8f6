//! What is found, and what is near to it and is not.

use serde_json::json;

use super::{tokens::TOKENS, *};
use crate::api::release::EnvValue;

fn found(env: &[(&str, &str)]) -> Vec<Finding> {
    let env = env
        .iter()
        .map(|(k, v)| ((*k).to_owned(), EnvValue::Literal((*v).to_owned())))
        .collect();
    scan(&ReleaseSpec {
        env,
        ..ReleaseSpec::default()
    })
}

#[test]
fn secrets_are_found_by_form_and_by_name() {
    let hits = [
        ("X", "AKIAIOSFODNN7EXAMPLE"),
        ("X", "ghp_0123456789abcdefghij0123456789abcdef"),
        ("DATABASE_URL", "ecto://app:hunter22@db/shop"),
        ("X", "-----BEGIN RSA PRIVATE KEY-----\nabc"),
        ("X", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop"),
        (
            "X",
            "TOKEN=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop, please.",
        ),
        ("SMTP_PASSWORD", "hunter22"),
        ("SECRET_KEY_BASE", "aaaaaaaaaaaaaaaaaaaa"),
        ("RELEASE_COOKIE", "monster-cookie"),
    ];
    for hit in hits {
        assert_eq!(found(&[hit]).len(), 1, "{}", hit.0);
    }
}

#[test]
fn what_looks_random_is_suspected_and_not_refused() {
    let of = |text: &str| {
        let spec = serde_json::json!({ "env": { "X": text }, "command": ["run", text] });
        assert_eq!(scan_value(&spec), [], "{text}");
        suspects(&spec)
    };
    for text in [
        "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZg",
        "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa",
        "key=uT+5v/Qx1Wz8kLm2Nc7RbY4hJ0sDf9GaPe3i",
        "https://example.com/hooks/k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa/run",
        "https://example.com/run?code=k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa",
    ] {
        let found: Vec<String> = of(text).into_iter().map(|finding| finding.pointer).collect();
        assert_eq!(found, ["/command/1", "/env/X"], "{text}");
        assert!(!of(text)[0].message.contains(text));
    }
    for text in [
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B",
        "123e4567-e89b-12d3-a456-426614174000",
        "/usr/local/lib/Erlang/27/lib/crypto-5.5/priv/lib/crypto.so",
        "https://example.com/Docs/2026/Guide-To-Everything-That-There-Is-1",
        "registry.example.com/team/some-application-with-a-long-name",
        "https://example.com/2026/01/A1/b2/C3/d4/E5/f6/G7/h8/I9/j0/K1/l2",
        "sha256-k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGak3Jx9vQ2mT7=",
        "script-src 'self' 'sha384-k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGak3Jx9vQ2mT7w'",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIk3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa a@b",
        "Elixir.Shop.Release.Migrations.V20260101000000.AddOrders",
        "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fG",
        "aA1aA1aA1aA1aA1aA1aA1aA1aA1aA1aA1aA1",
        "the quick brown fox jumps over the lazy dog 27 times a day",
    ] {
        assert_eq!(of(text), [], "{text}");
    }
    let spec = serde_json::json!({ "env": {
        "OPEN": { "value": "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa", "public": true },
        "TOKEN": "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa",
    } });
    assert_eq!(scan_value(&spec).len(), 1);
    assert_eq!(suspects(&spec), [], "what is refused is not suspected, too");
    let spec = json!({ "env": { "VAPID_PUBLIC_KEY": "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa" } });
    assert_eq!(suspects(&spec), [], "what everybody may know");
}

#[test]
fn a_key_that_begins_with_a_slash_is_no_path_and_a_path_is_no_key() {
    for key in [
        "/hUnter22",
        "/9jK3x/vQ2mT7wZ1pL5sR8yB4nC6hD0fGa",
        "/k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa=",
    ] {
        assert_eq!(found(&[("SMTP_PASSWORD", key)]).len(), 1, "{key}");
    }
    for path in [
        "/run/secrets/smtp-password",
        "/etc/ssl/Certs2026/Key1.pem",
        "/usr/local/lib/Erlang/27/lib/crypto-5.5/priv/key.so",
        "/cookie",
    ] {
        assert_eq!(found(&[("SMTP_PASSWORD", path)]), [], "{path}");
    }
}

#[test]
fn what_only_has_a_field_named_public_hides_nothing() {
    let token = "ghp_0123456789abcdefghij0123456789abcdef";
    let spec = serde_json::json!({ "env": {
        "PUBLIC": { "value": token, "public": true },
        "OTHER": { "value": token, "public": true, "more": token },
    }, "public": true, "image": token });
    let found: Vec<String> = scan_value(&spec)
        .into_iter()
        .map(|finding| finding.pointer)
        .collect();
    assert!(found.contains(&"/image".to_owned()), "{found:?}");
    assert!(found.contains(&"/env/OTHER".to_owned()), "{found:?}");
    assert!(
        !found.iter().any(|pointer| pointer.starts_with("/env/PUBLIC")),
        "{found:?}"
    );
}

/// Each prefix with as many characters as its tokens have at least, and with one fewer.
#[test]
fn a_token_of_every_issuer_is_found_and_one_that_is_too_short_is_none() {
    for (prefix, kind, least) in TOKENS {
        let of = |length: usize| {
            token(&format!(
                "x={prefix}{}",
                "a1".repeat(length).get(..length).unwrap()
            ))
        };
        assert!(of(least).is_some_and(|rule| rule.ends_with(kind)), "{prefix}");
        assert_eq!(of(least - 1), None, "{prefix}");
    }
    assert_eq!(token("-----BEGIN CERTIFICATE-----\nMIIB"), None);
    assert_eq!(token("-----BEGIN PUBLIC KEY-----\nMIIB"), None);
}

#[test]
fn near_misses_pass() {
    let misses = [
        ("POOL_SIZE", "10"),
        ("TOKEN_TTL", "3600"),
        ("URL", "https://app@example.com/x"),
        ("URL", "https://example.com/a:b@c"),
        ("DATABASE_URL", "ecto://app:$(PASSWORD)@db/shop"),
        ("SECRET_FILE", "/run/secrets/key"),
        ("X", "taskia_AKIA"),
        ("X", "keyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop"),
        ("COMMIT", "0123456789abcdef0123456789abcdef01234567"),
    ];
    for miss in misses {
        assert!(found(&[miss]).is_empty(), "{}", miss.0);
    }
}

#[test]
fn the_content_of_a_file_does_not_belong_into_git_either() {
    let files = serde_json::json!({ "files": {
        "/run/db-password": "hunter22",
        "/run/token": { "value": "hunter22" },
        "/run/key.pem": "-----BEGIN PRIVATE KEY-----\nabc",
        "/run/secrets/token": { "secret": "app/token" },
    } });
    let pointers: Vec<String> = scan_value(&files)
        .into_iter()
        .map(|found| found.pointer)
        .collect();
    assert_eq!(
        pointers,
        [
            "/files/~1run~1db-password",
            "/files/~1run~1key.pem",
            "/files/~1run~1token"
        ]
    );
}

#[test]
fn public_values_are_the_visible_exception() {
    let env = [(
        "API_KEY".to_owned(),
        EnvValue::Public("a-public-key-of-a-map".into()),
    )]
    .into();
    assert!(
        scan(&ReleaseSpec {
            env,
            ..ReleaseSpec::default()
        })
        .is_empty()
    );
}

#[test]
fn a_finding_never_repeats_the_value() {
    let finding = &found(&[("SMTP_PASSWORD", "hunter22-and-more")])[0];
    assert!(!finding.message.contains("hunter") && finding.pointer == "/env/SMTP_PASSWORD");
    assert!(finding.message.contains("17 characters"));
}

#[test]
fn passwords_inside_commands_are_found() {
    let spec = ReleaseSpec {
        args: Some(vec!["--db-password=hunter22".into(), "--password=$(DB)".into()]),
        ..ReleaseSpec::default()
    };
    assert_eq!(scan(&spec).len(), 1);
    let words = |words: &[&str]| scan_value(&serde_json::json!({ "migrate": words })).len();
    assert_eq!(words(&["--password", "hunter22"]), 1);
    assert_eq!(words(&["sh", "-c", "psql --password=$password"]), 0);
    assert_eq!(words(&["--password", "$ecret-77"]), 1);
    assert_eq!(words(&["sh", "-c", "PGPASSWORD=hunter22 psql"]), 1);
    assert_eq!(
        words(&[
            "--token",
            "/run/secrets/token",
            "--token=/run/x",
            "--secret",
            "--verbose"
        ]),
        0
    );
}

#[test]
fn a_mistake_around_a_secret_does_not_hide_it() {
    let spec = serde_json::json!({
        "buidl": { "args": { "NPM_TOKEN": "hunter22" } },
        "env": { "PIN": 5, "DB_PASSWORD": { "value": "hunter22", "pubilc": true } },
        "version": "AKIAIOSFODNN7EXAMPLE",
    });
    let pointers: Vec<String> = scan_value(&spec).into_iter().map(|found| found.pointer).collect();
    assert_eq!(
        pointers,
        ["/buidl/args/NPM_TOKEN", "/env/DB_PASSWORD", "/version"]
    );
}

#[test]
fn variables_in_the_form_of_a_pod_are_judged_by_their_names() {
    let list = |name: &str, value: Value| json!({ "env": [{ "name": name, "value": value }] });
    let pointers =
        |spec: &Value| -> Vec<String> { scan_value(spec).into_iter().map(|found| found.pointer).collect() };
    assert_eq!(
        pointers(&list("DB_PASSWORD", "hunter22".into())),
        ["/env/0/value"]
    );
    assert_eq!(
        pointers(&list("DB_PASSWORD", 123_456_789.into())),
        ["/env/0/value"]
    );
    assert_eq!(
        pointers(&list("X", "AKIAIOSFODNN7EXAMPLE".into())),
        ["/env/0/value"]
    );
    assert_eq!(
        pointers(&list("TOKEN_TTL", "fifteen-minutes".into())),
        [] as [&str; 0]
    );
    assert_eq!(pointers(&list("DB_PASSWORD", "$(OTHER)".into())), [] as [&str; 0]);
    let process = json!({ "processes": { "w": { "env": [{ "name": "API_KEY", "value": "hunter22" }] } } });
    assert_eq!(pointers(&process), ["/processes/w/env/0/value"]);
}

#[test]
fn below_a_name_that_is_no_field_all_names_are_judged() {
    for name in ["environment", "enviroment", "envs", "secrets", "config"] {
        let spec = json!({ name: { "DB_PASSWORD": "hunter22", "PORT": "80" } });
        let found = scan_value(&spec);
        assert!(
            found.len() == 1 && found[0].pointer == format!("/{name}/DB_PASSWORD"),
            "{found:?}"
        );
        assert!(found[0].message.contains("git keeps history"), "{found:?}");
        let spec = json!({ "migrate": { name: [{ "name": "DB_PASSWORD", "value": "hunter22" }] } });
        assert_eq!(scan_value(&spec).len(), 1, "{name}");
        let spec = json!({ name: [{ "name": "A", "value": "AKIAIOSFODNN7EXAMPLE" }] });
        assert_eq!(scan_value(&spec).len(), 1, "{name}");
        let spec = json!({ name: ["DB_PASSWORD=hunter22"] });
        assert_eq!(scan_value(&spec).len(), 1, "{name}");
    }
    assert_eq!(scan_value(&json!({ "DB_PASSWORD": "hunter22" })).len(), 1);
    for fine in [
        json!({ "imagePullSecrets": [{ "name": "registry-key" }], "tls": { "secret": "shop-tls1" } }),
        json!({ "ingress": { "tlsSecret": "shop-tls", "secretName": "shop-tls" } }),
        json!({ "env": { "A": { "valueFrom": { "secretKeyRef": { "name": "shop-db", "key": "password" } } } } }),
        json!({ "pullSecret": "shop-registry", "onSecretChange": "ignore" }),
    ] {
        assert_eq!(scan_value(&fine), [], "{fine}");
    }
}

#[test]
fn in_a_value_a_dollar_sign_is_a_character_like_any_other() {
    for text in ["$uperS3cret", "$ecret-Hunter22", "$uperS3cret!"] {
        let found = found(&[("DB_PASSWORD", text)]);
        assert!(
            found.len() == 1 && found[0].message.starts_with("looks like a secret"),
            "{text} {found:?}"
        );
    }
    for text in [
        "${DB_PASSWORD}",
        "$DB_PASSWORD",
        "$(openssl rand)",
        "`openssl rand`",
        "${A}-${B}",
        "$db_password",
    ] {
        let found = found(&[("DB_PASSWORD", text)]);
        assert!(
            found.len() == 1 && found[0].message.starts_with("nothing expands `$…` here"),
            "{text} {found:?}"
        );
        assert!(!found[0].message.contains(text) && found[0].message.contains("{secret: name/key}"));
    }
}

#[test]
fn a_url_in_a_value_that_a_shell_should_complete_is_doubted() {
    for (text, count) in [
        ("postgres://app:${X}@db/shop", 1),
        ("postgres://app:$X@db/shop", 1),
        ("postgres://app:$(X)@db/shop", 0),
        ("postgres://app:@db/shop", 0),
        ("https://example.com/${X}", 0),
    ] {
        let spec = json!({ "env": { "DATABASE_URL": text } });
        let found = suspects(&spec);
        assert!(
            scan_value(&spec).is_empty() && found.len() == count,
            "{text} {found:?}"
        );
        assert!(
            found
                .iter()
                .all(|found| found.message.starts_with("nothing expands `$…` here"))
        );
        assert_eq!(suspects(&json!({ "command": ["psql", text] })), [], "{text}");
    }
}

#[test]
fn a_variable_is_no_password_and_a_password_may_begin_with_a_dollar_sign() {
    for variable in [
        "$(DB_PASSWORD)",
        "$DB_PASSWORD",
        "$password",
        "$1",
        "${DB_PASSWORD}",
        "%(DB_PASSWORD)s",
    ] {
        assert!(
            !has_url_password(&format!("postgres://app:{variable}@db/app")),
            "{variable}"
        );
    }
    for password in ["$ecret-77", "$3cret77", "$", "$DB_PASSWORD!", "pw"] {
        assert!(
            has_url_password(&format!("postgres://app:{password}@db/app")),
            "{password}"
        );
    }
}

/// Whether a spec with this variable is refused.
fn refused(name: &str, text: &str) -> bool {
    !scan_value(&json!({ "env": { name: text } })).is_empty()
}

#[test]
fn a_password_in_a_connection_string_is_found_under_any_name() {
    for text in [
        "jdbc:postgresql://db/shop?user=app&password=hunter22",
        "postgres://app:hun/ter#22@db/shop",
        "postgres://app:hun?ter@db/shop",
        "postgres://app:12/34@db/shop",
        "https://app:hun/ter#22@example.com/shop",
        "app:hunter22@tcp(db:3306)/shop",
        "app:hun=ter@unix(/run/mysqld.sock)/shop",
        "mysql://app:hunter22@tcp(db:3306)/shop",
        "postgres://u:${X}hunter22@h/d",
        "postgres://u:hunter22$(X)@h/d",
        "postgres://u:${X:-hunter22}@h/d",
        "host=db user=app password=hunter22",
        "host=db user=app password='hunter 22'",
        "host = db password = hunter22",
        "Server=db;Password=hunter22x;",
        "Server=db;User Id=app;Pwd=hunter22",
        "Server=db;Password={hunter;22};",
        r#"{"password": "hunter22"}"#,
        r#"{\"db\":{\"password\":\"hunter22\"}}"#,
        r#"{"db_password":12345678}"#,
        r#"{"api_key": "k3Jx9vQ2mT7w"}"#,
        r#"{"auths":{"ghcr.io":{"auth":"dXNlcjpwYXNzd29yZA=="}}}"#,
        "jdbc:oracle:thin:scott/tiger@db:1521:orcl",
        "jdbc:oracle:thin:scott/tiger@//db:1521/orcl",
        "https://a.blob.core.windows.net/c?sv=2022-11-02&se=2027-01-01&sig=k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa%2Bk3Jx9vQ%3D",
        "https://b.s3.amazonaws.com/k?X-Amz-Signature=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "{'password': 'hunter22'}",
        "-Dspring.datasource.password=hunter22",
        "https://example.com/hook?token=k3Jx9vQ2mT7w",
    ] {
        for name in ["DATABASE_URL", "X"] {
            assert!(refused(name, text), "{name}: {text}");
        }
    }
}

#[test]
fn what_is_near_a_connection_string_with_a_password_passes() {
    for text in [
        "postgres://app:${X}@db/shop",
        "postgres://app:$(X)@db/shop",
        "postgres://app:$X@db/shop",
        "postgres://app:${A}${B}@db/shop",
        "postgres://app:${X:-}@db/shop",
        "postgres://app:@db/shop",
        "postgres://app@db/shop",
        "postgres://app:<password>@db/shop",
        "host=db user=app password=",
        "host=db password= user=app",
        "host=db user=app password=$(X)",
        "Server=db;Password=${X};",
        "Server=db;Password=;User=app",
        "jdbc:postgresql://db/shop?sslmode=require&user=app",
        "jdbc:postgresql://db/shop?password=$(X)&user=app",
        "app:$(X)@tcp(db:3306)/shop",
        "mysql://app:$(X)@tcp(db:3306)/shop",
        "app@tcp(db:3306)/shop",
        "jdbc:oracle:thin:@//db:1521/orcl",
        "jdbc:oracle:thin:scott/${X}@db:1521:orcl",
        "jdbc:oracle:thin:/@db",
        r#"{"auths":{"ghcr.io":{"auth":""}}}"#,
        r#"{"auth": "bm90YWxvZ2lu"}"#,
        "https://example.com/?sig=on&design=x",
        "https://a.blob.core.windows.net/c?sig=$(SIG)",
        "say user:pass to log in",
        "write to ops@example.com, or call at 10:30@desk",
        "ghcr.io/acme/shop@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "ghcr.io:5000/acme/shop:1.0@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "docker://registry:5000/a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "https://cdn.example.com:8443/npm/left-pad@1.3.0",
        "http://[::1]:8080/a@b",
        "mailto:ops@example.com",
        "urn:isbn:0451450523",
        "db.example.com:5432",
        "redis://cache:6379/0",
        "10:30",
        r#"{"password": ""}"#,
        r#"{"password": "${X}"}"#,
        r#"{"password": null, "passwordPolicy": "strict"}"#,
        r#"{"secret": "app-db/url", "token_type": "Bearer"}"#,
        "[redacted] password=[redacted] token=***",
        "SELECT 1 WHERE password = $1",
        "UPDATE users SET password=:password",
        r#"password = System.get_env("P")"#,
        "if password == saved",
        "?next_page=2&reset_password=true",
        "postgres://db:5432/shop?application_name=web@production",
        "amqp://a:5672,amqp://app@b:5672",
        "-c password_encryption=scram-sha-256",
    ] {
        assert!(!refused("DATABASE_URL", text), "{text}");
        assert!(!has_secret(text), "{text}");
    }
}

#[test]
fn a_name_is_judged_by_its_words() {
    for (name, text) in [
        ("DB_PASS", "hunter22"),
        ("SMTP_PASS", "hunt2"),
        ("DB_PWD", "x"),
        ("DB_PASSWORD", "12345678901"),
        ("DB_PASSWORD", "hunt2"),
        ("DB_PASSWORD_2", "hunter"),
        ("DB_PASSWORD", "$(X)hunter22"),
        ("PGPASSWORD", "hunter"),
        ("dbPassword", "hunter"),
        ("spring.datasource.password", "hunter"),
        ("ENCRYPTION_KEY", "hunter22"),
        ("AWS_ACCESS_KEY", "hunter22"),
        ("AWS_SECRET_ACCESS_KEY", "hunter22"),
        ("RAILS_MASTER_KEY", "hunter22"),
        ("APIKEY", "hunter22"),
        ("stripeApiKey", "hunter22"),
        ("API_KEYS", "hunter22,hunter23"),
        ("CLIENTSECRET", "hunter22"),
        ("VAULT_SECRET_ID", "hunter22"),
        ("SIGNING_SALT", "hunter22"),
        ("LIVE_VIEW_SALT", "hunter22"),
        ("GUARDIAN_SECRET", "hunter22"),
        ("AWS_CREDENTIALS", "hunter22"),
        ("DB_CREDS", "hunter22hunter"),
        ("DB_PASSWORD", "arn:hunter22"),
        ("SENTRY_DSN", "hunter22"),
        ("TOKEN", "hunter22"),
        ("PRIVATE_KEY", "hunter22"),
        ("REDIS_AUTH", "app:hunter22"),
        ("AUTH", "Bearer s3cr3tv4lue99"),
    ] {
        assert!(refused(name, text), "{name}");
    }
}

#[test]
fn a_name_that_is_about_a_secret_is_a_setting() {
    for (name, text) in [
        ("BASALT_COLOR", "greenish"),
        ("TOKENIZER", "whitespace"),
        ("TOKENIZERS_PARALLELISM", "sometimes"),
        ("PASSWORD_POLICY", "strict"),
        ("COOKIE_DOMAIN", "example.com"),
        ("COOKIE_NAME", "shop_session"),
        ("COOKIE_EXPIRE", "168h0m0s"),
        ("DB_PASSWORD", "op://vault/database/password"),
        ("COOKIE_SAME_SITE", "Strict"),
        ("SECRET_NAME", "db-credentials"),
        ("TOKEN_ISSUER", "https://accounts.example.com"),
        ("TOKEN_ISSUER", "accounts.example.com"),
        ("CSRF_TOKEN_HEADER", "x-csrf-token"),
        ("TOKEN_TTL", "fifteen-minutes"),
        ("PASSWORD_MIN_LENGTH", "12"),
        ("PASSWORD_RESET_HOURS", "24"),
        ("passwordHashAlgorithm", "argon2id"),
        ("DB_PASSWORD_FILE", "secrets/password"),
        ("SECRET_URL", "vault.internal/x"),
        ("AWS_ACCESS_KEY_ID", "another"),
        ("MAX_TOKENS", "unlimited"),
        ("PASS_THROUGH", "headers"),
        ("COMPASS", "northwest"),
        ("PWD", "relative/directory"),
        ("PRIMARY_KEY", "order_id"),
        ("SMTP_AUTH", "plain"),
        ("AUTH", "oauth2"),
        ("DB_PASSWORD", ""),
        ("DB_PASSWORD", "$(OTHER)"),
        ("SECRET_NAME", "${OTHER}"),
        ("X", "${DB_PASSWORD}"),
        (
            "DB_SECRET",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf",
        ),
        (
            "DB_PASSWORD",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf",
        ),
        (
            "ENCRYPTION_KEY",
            "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        ),
        ("SACRED", "greenish"),
        ("ALLOW_EMPTY_PASSWORD", "yes"),
        ("DB_PASSWORD", "/run/secrets/db"),
        ("DB_PASSWORD", "false"),
    ] {
        assert!(!refused(name, text), "{name}");
    }
    let spec = json!({ "env": { "REDIS_AUTH": "hunter22" } });
    assert!(
        suspects(&spec)[0]
            .message
            .starts_with("may be a secret (8 characters under")
    );
    assert_eq!(suspects(&json!({ "env": { "SMTP_AUTH": "plain" } })), []);
}

/// How many words of a command are refused.
fn words(words: &[&str]) -> usize {
    scan_value(&json!({ "command": words })).len()
}

#[test]
fn a_password_in_a_command_is_found_however_it_is_given() {
    for command in [
        &["sh", "-c", "mysql --password hunter22x"][..],
        &["run", "--password hunter22"],
        &["run", "--password", "hunt2"],
        &["run", "--password", "12345678"],
        &["mysql", "-phunter22"],
        &["/usr/bin/mysqldump", "-u", "root", "-phunter22", "shop"],
        &["timeout", "5", "mariadb-dump", "-phunter22"],
        &["sh", "-c", "cd /x && mysql -uroot -phunter22 < a.sql"],
        &["sh", "-c", "X=$(mysql -phunter22 -e 'select 1') run"],
        &["sh", "-c", "bash -c 'mysql -phunter22'"],
        &["sshpass", "-p", "hunter22", "ssh", "a"],
        &["redis-cli", "-a", "hunter22"],
        &["sh", "-c", "docker login -u app -p hunter22 r.example.com"],
        &["curl", "-u", "admin:hunter22", "https://example.com"],
        &["curl", "-uadmin:hunter22"],
        &["curl", "--user=admin:hunter22"],
        &["sh", "-c", "curl -s -u admin:hunter22 https://example.com"],
        &["curl", "-H", "Authorization: Bearer s3cr3tv4lue99"],
        &[
            "sh",
            "-c",
            "curl -H 'X-Api-Key: s3cr3tv4lue99' https://example.com",
        ],
        &["run", "--db-pass", "hunter22xx"],
        &["run", "--api-key=k3Jx9vQ2"],
        &["run", "--set", "auth.password=hunter22"],
        &["sh", "-c", "MYSQL_PWD=hunter22 mysql"],
        &["sh", "-c", "API_KEY=hunter22xyz run"],
        &["sh", "-c", "export DB_PASSWORD=\"hun ter\"; run"],
        &["run", "--dsn=app:hunter22@tcp(db)/x"],
        &["psql", "postgres://app:hunter22@db/shop"],
    ] {
        assert_eq!(words(command), 1, "{command:?}");
    }
    let apart = json!({ "migrate": { "command": ["/usr/bin/mysql"], "args": ["-phunter22"] } });
    assert_eq!(scan_value(&apart).len(), 1, "the program says what -p is");
}

#[test]
fn what_is_near_a_password_in_a_command_passes() {
    for command in [
        &["run", "--password-file", "/run/x"][..],
        &["run", "--password-file", "relative"],
        &["run", "--password=$(PASSWORD)"],
        &["run", "--password", "$(PASSWORD)"],
        &["run", "--password", "--verbose"],
        &["run", "--password-stdin", "registry"],
        &["psql", "--no-password", "production"],
        &["run", "-p", "8080"],
        &["run", "-p8080"],
        &["run", "-production"],
        &["mysql", "-p"],
        &["mysql", "-p", "shop"],
        &["sh", "-c", "mysql -p\"$PASSWORD\" shop"],
        &["wait-for", "-h", "mysql", "-p8080"],
        &["wait-for", "mysql:3306", "-p8080"],
        &["run", "-u", "1000:1000"],
        &["run", "-u", "www-data:www-data"],
        &["curl", "-u", "1000:1000"],
        &["curl", "-u", "admin:$PASSWORD"],
        &["curl", "-u", "admin"],
        &[
            "sh",
            "-c",
            "curl -H \"Authorization: Bearer $TOKEN\" https://example.com",
        ],
        &["sh", "-c", "PASSWORD=$(cat /run/secrets/password) run"],
        &[
            "sh",
            "-c",
            "[ -n \"$TOKEN\" ] || exit 3; read -r PASSWORD < /run/x",
        ],
        &["sh", "-c", "if [ \"$PASSWORD\" = \"\" ]; then exit 1; fi"],
        &["run", "--token-ttl", "5m"],
        &["run", "--token-ttl", "five-minutes"],
        &["run", "--max-tokens", "unlimited"],
        &["run", "--dsn=shop.sqlite"],
        &[
            "sh",
            "-c",
            "export PGPASSWORD=\"$(cat \"$PGPASSFILE\")\"; exec app",
        ],
        &["bin/rails", "api_keys:expire"],
        &["npm", "run", "password:reset"],
        &["oauth2-proxy", "--cookie-expire=168h0m0s"],
        &["migrate", "mysql", "-path", "db"],
        &["wait", "mysql", "-port", "3306"],
        &["echo", "don't"],
    ] {
        assert_eq!(words(command), 0, "{command:?}");
    }
}

#[test]
fn tokens_with_a_structure_of_their_own_are_found() {
    let key = "A+/9".repeat(22);
    let pem = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END",
    );
    let public = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        "-----BEGIN CERTIFICATE-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END",
    );
    let hook = |id: &str| format!("post to https://hooks.slack.com/services/T01234567/B01234567/{id}");
    let folded = format!("{}\n{}", &pem[..40], &pem[40..]);
    let discord = |length: usize| {
        let token = "k3Jx-9vQ_2mT".repeat(6);
        format!(
            "https://discord.com/api/webhooks/123456789012345678/{}",
            &token[..length]
        )
    };
    let guid = "123e4567-e89b-12d3-a456-426614174000";
    let hex = "0123456789abcdef0123456789abcdef";
    let teams = format!("https://acme.webhook.office.com/webhookb2/{guid}@{guid}");
    let bot = |length: usize| {
        let token = format!("AA{}", "k3Jx-9vQ_2mT".repeat(3));
        format!(
            "https://api.telegram.org/bot123456789:{}/sendMessage",
            &token[..length]
        )
    };
    for (text, rule) in [
        (
            &*format!("AccountName=a;AccountKey={}==;", &key[..86]),
            Some("an Azure account key"),
        ),
        (&*format!("AccountName=a;AccountKey={}", &key[..85]), None),
        (&*pem, Some("a private key")),
        (&*folded, Some("a private key")),
        (&*public, None),
        (&*hook("abcdefghijklmnopqrstuvwx"), Some("a Slack webhook")),
        (&*hook("abcdefghijklmnopqrstuvw"), None),
        ("https://hooks.slack.com/services/$(SLACK)", None),
        (&*discord(68), Some("a Discord webhook")),
        (&*discord(59), None),
        ("https://discord.com/api/webhooks/$(ID)/$(TOKEN)", None),
        (
            &*format!("{teams}/IncomingWebhook/{hex}/{guid}"),
            Some("a Teams webhook"),
        ),
        (&*teams, None),
        (&*bot(35), Some("a Telegram token")),
        (&*bot(34), None),
        (&*bot(36), None),
    ] {
        assert_eq!(token(text).as_deref(), rule, "{text}");
    }
}

#[test]
fn a_name_that_is_a_token_is_found_and_not_repeated() {
    for map in ["env", "annotations"] {
        let name = "ghp_0123456789abcdefghij0123456789abcdef";
        let found = scan_value(&json!({ map: { name: "x", "A": "AKIAIOSFODNN7EXAMPLE" } }));
        assert_eq!(found.len(), 2, "{map}");
        for finding in found {
            let said = format!("{}{}", finding.pointer, finding.message);
            assert!(!said.contains(name), "{said}");
        }
    }
}

#[test]
fn headers_that_let_somebody_in_are_refused_and_other_names_are_doubted() {
    let headers = |name: &str, text: &str| {
        let spec = json!({ "health": { "headers": { name: text } } });
        (scan_value(&spec).len(), suspects(&spec).len())
    };
    assert_eq!(headers("Authorization", "Bearer s3cr3tv4lue99"), (1, 0));
    assert_eq!(headers("authorization", "Basic YXBwOng="), (1, 0));
    assert_eq!(headers("Cookie", "session=abc"), (1, 0));
    assert_eq!(headers("X-Api-Key", "hunter"), (1, 0));
    assert_eq!(headers("X-Csrf-Token", "hunter22"), (0, 1));
    for (name, text) in [
        ("Host", "example.com"),
        ("Authorization", "Bearer $(TOKEN)"),
        ("Cookie", ""),
        ("X-Cookie-Name", "session"),
        ("X-Forwarded-Proto", "https"),
    ] {
        assert_eq!(headers(name, text), (0, 0), "{name}");
    }
    let annotations = |name: &str, text: &str| {
        let spec = json!({ "ingress": { "annotations": { name: text } } });
        (scan_value(&spec).len(), suspects(&spec).len())
    };
    assert_eq!(annotations("example.com/password", "hunter2hunter2"), (0, 1));
    for (name, text) in [
        ("nginx.ingress.kubernetes.io/auth-secret", "shop/basic-auth"),
        ("nginx.ingress.kubernetes.io/affinity", "cookie"),
        ("nginx.ingress.kubernetes.io/session-cookie-name", "route-of-shop"),
        ("secrets.example.com/reload", "automatic"),
        ("cert-manager.io/private-key-rotation-policy", "Always"),
    ] {
        assert_eq!(annotations(name, text), (0, 0), "{name}");
    }
}

#[test]
fn the_advice_is_one_that_can_be_followed_there() {
    let token = "ghp_0123456789abcdefghij0123456789abcdef";
    for (spec, advice) in [
        (
            json!({ "env": { "A": token } }),
            "refer to it by {secret: name/key}",
        ),
        (
            json!({ "files": { "/a": token } }),
            "refer to it by {secret: name/key}",
        ),
        (json!({ "args": [token] }), "env: {NAME: {secret: name/key}}"),
        (
            json!({ "migrate": { "command": ["x", token] } }),
            "env: {NAME: {secret: name/key}}",
        ),
        (
            json!({ "health": { "headers": { "A": token } } }),
            "cannot stand in a header",
        ),
        (
            json!({ "ingress": { "annotations": { "a/b": token } } }),
            "cannot stand there",
        ),
        (json!({ "image": token }), "cannot stand in the name of an image"),
        (json!({ "host": token }), "cannot stand in the name of a host"),
        (json!({ "version": token }), "cannot stand there"),
    ] {
        let found = scan_value(&spec);
        assert!(found[0].message.contains(advice), "{}", found[0].message);
        let open = found[0].message.contains("public: true");
        assert_eq!(open, spec.get("env").is_some(), "{spec}");
        assert!(found[0].message.contains("git keeps history"));
    }
}

#[test]
fn a_text_of_nothing_but_beginnings_costs_no_more_than_its_length() {
    for part in [
        "$(",
        "${",
        "`",
        "a=",
        "://",
        "\":",
        "@a(",
        "a:",
        "LS0tLS1CRUdJTi",
        "eyJ.",
        ":oracle:",
        "&sig=",
        ":AA",
        "hooks.slack.com/services/",
        "\"auth\":\"",
    ] {
        let text = part.repeat(20_000);
        assert!(text.len() < 1 << 20 && !has_secret(&text), "{part}");
    }
}
