use super::*;

fn id() -> ReleaseId {
    ReleaseId {
        namespace: "shop".parse().unwrap(),
        name: "app".parse().unwrap(),
    }
}

const URL: &str = "ecto://app:canary-77aa@db.example.com/shop";

/// The fields over a small release with a migration.
fn declared(fields: &str) -> Declared {
    let base = "image: ghcr.io/acme/a\nversion: 1.0.0\nport: 8080\n";
    let spec = serde_yaml::from_str(&format!("{base}{fields}\n")).unwrap();
    crate::spec::declare(&id().name, &spec).unwrap().unwrap()
}

/// `Secret name` → its keys with their values; `ConfigMap` in the same way.
fn contents(objects: &[(&str, &[(&str, &str)])]) -> Contents {
    let one = |(name, data): &(&str, &[(&str, &str)])| {
        let (holder, name) = match name.split_once(' ') {
            Some(("Secret", name)) => (Holder::Secret, name),
            Some((_, name)) => (Holder::ConfigMap, name),
            None => panic!("{name}"),
        };
        let data = data.iter().map(|(key, value)| {
            let value = SecretSlice::from(value.as_bytes().to_vec());
            ((*key).to_owned(), value)
        });
        let content = Content {
            data: data.collect(),
            ..Content::default()
        };
        ((holder, name.parse::<ObjectName>().unwrap()), Some(content))
    };
    Contents(objects.iter().map(one).collect())
}

fn seen(fields: &str, objects: &[(&str, &[(&str, &str)])]) -> References {
    let key = HashKey::new(&[7; 32]).unwrap();
    resolve(&id(), &declared(fields), &key, &contents(objects))
}

fn prints(references: &References) -> &BTreeMap<String, String> {
    &references.fingerprints.as_ref().unwrap().values
}

/// The references whose fingerprints differ, or are in one of them alone.
fn differing(before: &References, after: &References) -> Vec<String> {
    let (before, after) = (prints(before), prints(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = |name: &&&String| before.get(**name) != after.get(**name);
    names.iter().filter(differ).map(|name| (*name).clone()).collect()
}

#[test]
fn whatever_is_not_there_is_named_once_with_its_key() {
    let fields = "pullSecret: pull
env: {A: {secret: app/a}, B: {secret: app/b}, C: {config: conf/c}}
files: {/run/a: {secret: app/a}, /run/f: {config: conf/f}}
envFrom: [{secret: whole}, {config: whole}]";
    assert_eq!(
        seen(fields, &[("Secret app", &[("b", "x")])]).missing,
        [
            "Secret app with key a",
            "Secret whole",
            "pull Secret pull",
            "ConfigMap conf with key c",
            "ConfigMap conf with key f",
            "ConfigMap whole",
        ]
    );
    let all: &[(&str, &[(&str, &str)])] = &[
        ("Secret app", &[("a", "x"), ("b", "x")]),
        ("Secret whole", &[]),
        ("Secret pull", &[]),
        ("ConfigMap conf", &[("c", "x"), ("f", "x")]),
        ("ConfigMap whole", &[]),
    ];
    assert_eq!(seen(fields, all).missing, [""; 0]);
}

#[test]
fn binary_data_of_a_config_map_is_a_file_and_no_variable() {
    let mut contents = contents(&[("ConfigMap conf", &[])]);
    let content = contents.0.values_mut().next().unwrap().as_mut().unwrap();
    content
        .binary
        .insert("store".into(), SecretSlice::from(vec![0xff, 0]));
    let missing = |fields: &str| missing(&declared(fields), &contents).0;
    assert_eq!(missing("files: {/run/store: {config: conf/store}}"), [""; 0]);
    assert_eq!(
        missing("env: {A: {config: conf/store}}"),
        ["ConfigMap conf with key store"]
    );
}

#[test]
fn what_is_required_must_have_a_value_and_not_only_a_key() {
    let fields =
        "requires: [TOKEN, X_URL]\nenv: {TOKEN: {secret: app/token}}\nenvFrom: [{secret: whole, prefix: X_}]";
    let missing = |token: &str, whole: &[(&str, &str)]| {
        seen(
            fields,
            &[("Secret app", &[("token", token)]), ("Secret whole", whole)],
        )
        .missing
    };
    assert_eq!(
        missing("", &[("url", "x")]),
        [
            "a value for TOKEN in Secret app with key token",
            "a key for X_URL in Secret whole"
        ]
    );
    assert_eq!(
        missing("a", &[("URL", "")]),
        ["a value for X_URL in Secret whole with key URL"]
    );
    assert_eq!(missing("a", &[("URL", "x")]), [""; 0]);
    let late = seen(fields, &[("Secret app", &[("token", "")]), ("Secret whole", &[])]).late;
    let late: Vec<&str> = late.iter().map(ObjectName::as_str).collect();
    assert_eq!(late, ["app", "whole"]);
    // Of an object that is not there at all nothing more is said.
    assert_eq!(
        seen(fields, &[("Secret app", &[("token", "a")])]).missing,
        ["Secret whole"]
    );
}

#[test]
fn a_change_of_a_key_is_told_by_its_name_and_only_where_pods_are_given_it() {
    let fields = "env: {A: {secret: app/a}}
files: {/run/f: {secret: app/f}}
envFrom: [{secret: whole, prefix: X_}]
migrate: {args: [m], env: {M: {secret: app/m}}}";
    let with = |a: &str, f: &str, m: &str, other: &str, whole: &[(&str, &str)]| {
        let app = [("a", a), ("f", f), ("m", m), ("other", other)];
        seen(fields, &[("Secret app", &app), ("Secret whole", whole)])
    };
    let before = with("1", "1", "1", "1", &[("K", "1"), ("L", "1")]);
    for (after, expected) in [
        (
            with("1", "1", "2", "2", &[("K", "1"), ("L", "1")]),
            &[] as &[&str],
        ),
        (
            with("2", "1", "1", "1", &[("K", "1"), ("L", "1")]),
            &["Secret app/a"],
        ),
        (
            with("1", "2", "1", "1", &[("K", "1"), ("L", "1")]),
            &["Secret app/f"],
        ),
        (
            with("1", "1", "1", "1", &[("K", "2"), ("L", "1")]),
            &["Secret whole/K"],
        ),
        (
            with("1", "1", "1", "1", &[("K", "1")]),
            &["Secret whole/*", "Secret whole/L"],
        ),
        (
            with("1", "1", "1", "1", &[("K", "1"), ("L", "1"), ("N", "1")]),
            &["Secret whole/*", "Secret whole/N"],
        ),
    ] {
        assert_eq!(differing(&before, &after), expected);
    }
}

#[test]
fn a_secret_that_was_made_again_with_the_same_values_has_the_same_fingerprints() {
    let fields = "env: {A: {secret: app/a}}\nenvFrom: [{secret: app}]\nfiles: {/run/a: {secret: app/a}}";
    // Another object, by another UID and in another order: only names and values count.
    let (one, other) = (
        seen(fields, &[("Secret app", &[("a", "1"), ("b", "2")])]),
        seen(fields, &[("Secret app", &[("b", "2"), ("a", "1")])]),
    );
    assert_eq!(differing(&one, &other), [""; 0]);
}

#[test]
fn a_large_whole_secret_has_one_fingerprint_that_still_sees_every_change() {
    let keys: Vec<String> = (0..MAX_PRINTS).map(|n| format!("K{n}")).collect();
    let data = |value: &'static str| -> Vec<(&str, &str)> {
        let mut data: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "1")).collect();
        data[17].1 = value;
        data
    };
    let with = |value| seen("envFrom: [{secret: whole}]", &[("Secret whole", &data(value))]);
    assert_eq!(prints(&with("1")).len(), 1);
    assert_eq!(differing(&with("1"), &with("2")), ["Secret whole/*"]);
    assert_eq!(differing(&with("1"), &with("1")), [""; 0]);
}

#[test]
fn a_value_that_comes_as_a_file_or_with_a_whole_secret_is_taken_out_of_what_programs_print() {
    let fields = "env: {A: {secret: app/a}, MADE: {generate: hex/32}}
files: {/run/f: {secret: app/f}, /run/plain: {config: conf/plain}}
envFrom: [{secret: whole}, {config: conf}]";
    let references = seen(
        fields,
        &[
            (
                "Secret app",
                &[("a", "canary-env"), ("f", "canary-file-1\ncanary-file-2")],
            ),
            ("Secret whole", &[("ANY", "canary-whole")]),
            ("Secret app-generated", &[("MADE", "canary-made")]),
            ("ConfigMap conf", &[("plain", "no-secret-at-all")]),
        ],
    );
    let printed = "canary-env canary-file-1 canary-file-2 canary-whole canary-made no-secret-at-all";
    let gone = "[redacted]";
    assert_eq!(
        references.redact(printed),
        format!("{gone} {gone} {gone} {gone} {gone} no-secret-at-all")
    );
    assert!(!format!("{references:?}").contains("canary"));
}

#[test]
fn what_is_no_text_is_taken_out_in_base64() {
    let mut contents = contents(&[("Secret app", &[])]);
    let bytes = vec![0xff, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8];
    let printed = format!("key {}", STANDARD.encode(&bytes));
    let content = contents.0.values_mut().next().unwrap().as_mut().unwrap();
    content.data.insert("store".into(), SecretSlice::from(bytes));
    let spec = declared("files: {/run/store: {secret: app/store}}");
    let references = resolve(&id(), &spec, &HashKey::new(&[7; 32]).unwrap(), &contents);
    assert_eq!(references.redact(&printed), "key [redacted]");
}

#[test]
fn the_database_is_found_wherever_its_variable_comes_from() {
    let known = DatabaseSeen::Known("db.example.com:5432/shop".into());
    let secret: &[(&str, &[(&str, &str)])] = &[("Secret app", &[("DATABASE_URL", URL)])];
    for fields in [
        "migrate: [m]\nenv: {DATABASE_URL: {secret: app/DATABASE_URL}}",
        "migrate: [m]\nenvFrom: [{secret: app}]",
        "migrate: {args: [m], database: X_DATABASE_URL}\nenvFrom: [{secret: app, prefix: X_}]",
        "migrate: {args: [m], database: URL_FILE}\nenv: {URL_FILE: /run/url}\nfiles: {/run/url: {secret: app/DATABASE_URL}}",
    ] {
        assert_eq!(seen(fields, secret).database, known, "{fields}");
        assert_eq!(seen(fields, &[]).database, DatabaseSeen::Unreadable, "{fields}");
    }
    let two = "migrate: [m]\nenvFrom: [{secret: app}, {secret: other}]";
    let other = URL.replace("/shop", "/other");
    let both = seen(
        two,
        &[
            ("Secret app", &[("DATABASE_URL", URL)]),
            ("Secret other", &[("DATABASE_URL", &other)]),
        ],
    );
    assert_eq!(
        both.database,
        DatabaseSeen::Known("db.example.com:5432/other".into()),
        "the last one wins"
    );
}

#[test]
fn a_database_whose_key_comes_late_is_waited_for_where_the_spec_names_it() {
    let empty: &[(&str, &[(&str, &str)])] = &[("Secret app", &[])];
    let late = seen(
        "migrate: {args: [m], database: DATABASE_URL}\nenvFrom: [{secret: app}]",
        empty,
    );
    assert_eq!(late.database, DatabaseSeen::Unreadable);
    assert_eq!(late.missing, ["a key for DATABASE_URL in Secret app"]);
    let unnamed = seen("migrate: [m]\nenvFrom: [{secret: app}]", empty);
    assert_eq!(
        (unnamed.database, unnamed.missing.len()),
        (DatabaseSeen::Unnamed, 0)
    );
}

#[test]
fn variables_of_whole_objects_are_named_and_those_that_env_gives_are_not() {
    let references = seen(
        "env: {X_A: plain}\nenvFrom: [{secret: whole, prefix: X_}, {config: conf}]",
        &[
            ("Secret whole", &[("A", "1"), ("B", "2")]),
            ("ConfigMap conf", &[("C", "3")]),
        ],
    );
    assert_eq!(references.variables, ["C", "X_B"]);
}

#[test]
fn generated_values_are_missing_until_they_are_there_and_tell_their_counter() {
    let fields = "env: {MADE: {generate: hex/32}}";
    let none = seen(fields, &[]);
    assert_eq!((none.ungenerated.len(), none.rotated), (1, None));
    let mut contents = contents(&[("Secret app-generated", &[("MADE", "x")])]);
    contents.0.values_mut().next().unwrap().as_mut().unwrap().rotated = 4;
    let made = resolve(
        &id(),
        &declared(fields),
        &HashKey::new(&[7; 32]).unwrap(),
        &contents,
    );
    assert_eq!((made.ungenerated.len(), made.rotated), (0, Some(4)));
    assert!(prints(&made).contains_key("Secret app-generated/MADE"));
}
