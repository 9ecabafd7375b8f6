//! Documents that say something that `Release` does not know, or in the wrong type.
//!
//! No message repeats a value that stands below some `env`.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    document::{Document, Problem, join},
    firewall,
    form::{ENV_FORM, FORM, Form, too_long},
};
use crate::api::{
    ReleaseSpec,
    release::{KeyRef, MigrateOptions},
};

/// Fields that the design names and that no code reads yet.
const PLANNED: [&str; 12] = [
    "hosts",
    "tls",
    "gateway",
    "nodeSelector",
    "tolerations",
    "affinity",
    "priorityClass",
    "down",
    "tasks",
    "dependsOn",
    "windows",
    "approval",
];

/// Everything in a document that no field of a release can hold.
#[must_use]
pub fn check(document: &Document) -> Vec<Problem> {
    let mut walk = Walk {
        document,
        problems: Vec::new(),
    };
    walk.value(&FORM, &document.spec, "");
    if walk.problems.is_empty()
        && let Err((pointer, message)) = typed(&document.spec)
    {
        walk.say(&pointer, &message);
    }
    walk.problems
}

/// What a stored spec says that no field can hold, with the name of the field and without its value.
#[must_use]
pub fn unreadable(spec: &Value) -> Option<String> {
    typed(spec).err().map(|(_, message)| message)
}

/// What a value says that a type cannot hold, with the name of the field.
#[must_use]
pub fn unreadable_as<T: DeserializeOwned>(value: &Value) -> Option<String> {
    let (pointer, message) = read::<T>(value).err()?;
    Some(format!("`{}` {message}", dotted(&pointer)))
}

/// The spec that a merged value says; else the JSON pointer of what is wrong, and what.
pub(super) fn typed(value: &Value) -> Result<ReleaseSpec, (String, String)> {
    let value = without_nulls(value);
    let wrong = |(pointer, message): (String, String)| {
        let message = if !leaks(&value, &message) {
            message
        } else if pointer.contains("/env/") {
            format!("must be {ENV_FORM}")
        } else {
            "has a value that is not possible here".to_owned()
        };
        let message = format!("`{}` {message}", dotted(&pointer));
        (pointer, message)
    };
    if let Some((pointer, message)) = too_long(&value).into_iter().next() {
        return Err(wrong((pointer, message)));
    }
    read::<ReleaseSpec>(&value).map_err(|(pointer, message)| {
        // A union hides where in it the error is.
        match value.pointer("/migrate") {
            Some(options @ Value::Object(_)) if pointer == "/migrate" => {
                wrong(match read::<MigrateOptions>(options) {
                    Err((inner, message)) => (format!("/migrate{inner}"), message),
                    Ok(_) => (pointer, message),
                })
            }
            _ => wrong((pointer, message)),
        }
    })
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(value.clone()).map_err(|error| {
        use serde_path_to_error::Segment;
        let pointer = error
            .path()
            .iter()
            .fold(String::new(), |pointer, segment| match segment {
                Segment::Seq { index } => format!("{pointer}/{index}"),
                Segment::Map { key } => join(&pointer, key),
                Segment::Enum { .. } | Segment::Unknown => pointer,
            });
        let message = error.inner().to_string();
        // serde's own messages quote the value.
        let own = [
            "invalid type",
            "invalid value",
            "invalid length",
            "unknown variant",
        ];
        let message = match message.rsplit_once(", expected ") {
            Some((before, expected)) if own.iter().any(|start| before.contains(start)) => {
                let expected = match expected {
                    "u16" => "a number from 0 to 65535",
                    "u32" => "a whole number that is not too large, nor less than 0",
                    "i64" => "a whole number that is not too large",
                    other => other,
                };
                format!("must be {expected}")
            }
            _ => message,
        };
        (pointer, message)
    })
}

/// Whether a text holds a value that stands below some `env`. The last line of defence: the messages above
/// hold none.
fn leaks(value: &Value, message: &str) -> bool {
    fn below(value: &Value, message: &str, env: bool) -> bool {
        match value {
            Value::Object(fields) => fields
                .iter()
                .any(|(name, inner)| below(inner, message, env || name == "env" || name == "headers")),
            Value::Array(items) => items.iter().any(|inner| below(inner, message, env)),
            Value::String(text) => env && text.len() > 3 && message.contains(text.as_str()),
            _ => false,
        }
    }
    below(value, message, false)
}

/// In a merge patch `null` means "remove", so it has no type. In lists it stays.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, inner)| !inner.is_null());
            Value::Object(
                kept.map(|(name, inner)| (name.clone(), without_nulls(inner)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// `/env/A` → `env.A`, for people.
pub(super) fn dotted(pointer: &str) -> String {
    let path = pointer.strip_prefix('/').unwrap_or(pointer);
    if path.is_empty() {
        return "spec".to_owned();
    }
    path.replace('/', ".").replace("~1", "/").replace("~0", "~")
}

struct Walk<'a> {
    document: &'a Document,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn say(&mut self, pointer: &str, message: &str) {
        self.problems.push(self.document.problem(pointer, message));
    }

    fn must_be(&mut self, pointer: &str, what: &str) {
        self.say(pointer, &format!("`{}` must be {what}", dotted(pointer)));
    }

    fn value(&mut self, form: &Form, value: &Value, pointer: &str) {
        match (form, value) {
            (Form::Any, _)
            | (Form::Text, Value::String(_))
            | (Form::Number, Value::Number(_))
            | (Form::Truth, Value::Bool(_)) => {}
            (Form::Whole, Value::Number(number))
                if !number.is_f64() && !self.document.odd_numbers.contains_key(pointer) => {}
            (Form::Text, Value::Number(_)) => {
                self.must_be(
                    pointer,
                    "a text, and YAML reads this as a number: put it in quotes",
                );
            }
            (Form::Text, Value::Bool(_)) => {
                self.must_be(
                    pointer,
                    "a text, and YAML reads this as true or false: put it in quotes",
                );
            }
            // What is longer is none, and is not repeated.
            (Form::Span, Value::String(text)) if text.chars().count() <= 16 => {
                if let Err(why) = text.parse::<crate::api::Duration>() {
                    self.say(pointer, &format!("`{}` {why}", dotted(pointer)));
                }
            }
            (Form::Span, _) => self.must_be(pointer, "a duration with a unit, such as 10m"),
            (Form::Whole | Form::Port, Value::Number(_))
                if self.document.odd_numbers.contains_key(pointer) =>
            {
                let said = self.document.odd_numbers.get(pointer).map_or("", String::as_str);
                self.say(pointer, &format!("`{}`: {said}", dotted(pointer)));
            }
            (Form::Port, Value::Number(number))
                if number.as_u64().is_some_and(|port| (1..=65535).contains(&port)) => {}
            (Form::Port, _) => self.must_be(pointer, "a number from 1 to 65535"),
            (Form::Text, _) => self.must_be(pointer, "a text"),
            (Form::Whole, Value::Object(_)) if pointer.ends_with("/replicas") => self.say(
                pointer,
                &format!(
                    "`{}` as an object is not built yet: write a number",
                    dotted(pointer)
                ),
            ),
            (Form::Whole, Value::String(_)) => self.must_be(pointer, "a whole number, without quotes"),
            (Form::Whole, _) => self.must_be(pointer, "a whole number"),
            (Form::Number, _) => self.must_be(pointer, "a number, without quotes"),
            (Form::Truth, _) => {
                self.must_be(
                    pointer,
                    &format!("true or false, without quotes{}", old_word(value)),
                );
            }
            (Form::List(inner), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(inner, item, &format!("{pointer}/{index}"));
                }
            }
            (Form::List(_), _) => self.must_be(pointer, "a list"),
            (Form::Map(inner), Value::Object(entries)) => {
                for (name, item) in entries.iter().filter(|(_, item)| !item.is_null()) {
                    self.value(inner, item, &join(pointer, name));
                }
            }
            (Form::Fields(known) | Form::Either(_, _, known), Value::Object(entries)) => {
                let before = self.problems.len();
                self.fields(known, entries, pointer);
                if self.problems.len() == before
                    && known.contains_key("secret")
                    && known.contains_key("config")
                {
                    self.key(entries, pointer);
                }
            }
            (Form::Either(short, _, _), Value::String(_) | Value::Array(_))
                if matches!(
                    (&**short, value),
                    (Form::Text, Value::String(_)) | (Form::List(_), Value::Array(_))
                ) =>
            {
                self.value(short, value, pointer);
            }
            (Form::Either(short, _, _), Value::Bool(false)) if matches!(**short, Form::List(_)) => {}
            (Form::Either(..) | Form::Map(_) | Form::Fields(_), _) => self.other_type(form, value, pointer),
        }
    }

    /// A value that no form of its place is of.
    fn other_type(&mut self, form: &Form, value: &Value, pointer: &str) {
        match (form, value) {
            // In quotes it would be refused next.
            (Form::Either(_, ENV_FORM, _), Value::Number(number))
                if firewall::named(last(pointer), &number.to_string()).is_some() =>
            {
                self.must_be(pointer, "a reference to a Secret, {secret: name/key}");
            }
            (Form::Either(_, what, known), Value::Bool(_)) if known.contains_key("startup") => {
                let more = "to ask for nothing but an open port, leave it out";
                self.must_be(pointer, &format!("{what}; {more}"));
            }
            (Form::Either(short, what, _), Value::Number(_) | Value::Bool(_))
                if matches!(**short, Form::Text) =>
            {
                self.must_be(pointer, &format!("{what}; put numbers and true/false in quotes"));
            }
            (Form::Either(short, what, _), Value::String(_)) if matches!(**short, Form::List(_)) => {
                self.must_be(pointer, &format!("{what}{}", old_word(value)));
            }
            (Form::Either(_, what, _), _) => self.must_be(pointer, what),
            (Form::Map(_), Value::Array(_)) if last(pointer) == "env" => self.must_be(
                pointer,
                "a mapping of fields: write NAME: value for each, not a list as in a Pod",
            ),
            (Form::Fields(known), _) if known.contains_key("secret") && known.contains_key("config") => {
                let of = if known.contains_key("prefix") {
                    "name"
                } else {
                    "name/key"
                };
                self.must_be(
                    pointer,
                    &format!("a mapping of fields: {{secret: {of}}} or {{config: {of}}}"),
                );
            }
            (Form::Map(_) | Form::Fields(_), _) => self.must_be(pointer, "a mapping of fields"),
            _ => {}
        }
    }

    /// The name and key of a `Secret` or a `ConfigMap`, where they are the only field.
    fn key(&mut self, entries: &Map<String, Value>, pointer: &str) {
        // An element of `envFrom` is a name alone.
        if pointer.starts_with("/envFrom/") {
            return;
        }
        let mut given = entries.iter().filter(|(_, value)| !value.is_null());
        let (Some((field, Value::String(text))), None) = (given.next(), given.next()) else {
            return;
        };
        let kind = match field.as_str() {
            "secret" => "Secrets",
            "config" => "ConfigMaps",
            _ => return,
        };
        let Err(why) = text.parse::<KeyRef>() else {
            return;
        };
        let what = if text.matches('/').count() == 1 {
            format!("name/key: {why}")
        } else {
            format!("name/key; only {kind} of the release's own namespace can be named")
        };
        self.must_be(&join(pointer, field), &what);
    }

    fn fields(&mut self, known: &BTreeMap<String, Form>, entries: &Map<String, Value>, pointer: &str) {
        for (name, item) in entries {
            let child = join(pointer, name);
            match known.get(name) {
                Some(_) if item.is_null() => {}
                Some(form) => self.value(form, item, &child),
                None => self.say(&child, &unknown(known, name, pointer)),
            }
        }
    }
}

/// The last name of a pointer.
fn last(pointer: &str) -> &str {
    pointer.rsplit('/').next().unwrap_or_default()
}

/// What other programs call a field, without signs and in small letters.
const ALIASES: [(&str, usize, &str); 4] = [
    ("environment", 2, "env"),
    ("healthcheck", 1, "health"),
    ("livenessprobe", 1, "health"),
    ("readinessprobe", 1, "health"),
];

/// What else to say of a word that was true or false in YAML 1.1.
fn old_word(value: &Value) -> String {
    let Some(word) = value.as_str() else {
        return String::new();
    };
    let meant = match word.to_lowercase().as_str() {
        "no" | "off" | "n" => false,
        "yes" | "on" | "y" => true,
        _ => return String::new(),
    };
    format!("; `{word}` is a text in YAML 1.2: write {meant}")
}

/// What to say of a field that `known` has not.
fn unknown(known: &BTreeMap<String, Form>, name: &str, pointer: &str) -> String {
    let planned: &[&str] = match pointer {
        "/verify" => &["smoke"],
        "" => &PLANNED,
        process if process.starts_with("/processes/") && process.matches('/').count() == 2 => &PLANNED,
        _ => &[],
    };
    let in_env =
        pointer.contains("/env/") || pointer.starts_with("/files/") || pointer.starts_with("/envFrom/");
    let full = dotted(&join(pointer, name));
    if planned.contains(&name) {
        return format!("`{full}` is not built yet: remove it");
    }
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let wanted = plain(name);
    let near = known
        .keys()
        .map(|key| (strsim::damerau_levenshtein(&plain(key), &wanted), key))
        .min()
        .filter(|(distance, _)| *distance <= 1 || *distance * 3 <= wanted.chars().count());
    let all = || known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let alias = ALIASES.iter().find(|(other, slips, key)| {
        known.contains_key(*key) && strsim::damerau_levenshtein(other, &wanted) <= *slips
    });
    if let Some((_, _, key)) = alias {
        return format!("unknown field `{full}`: did you mean `{key}`?");
    }
    if name == "valueFrom" && in_env {
        return format!(
            "`{full}` is of a Pod: write {{secret: name/key}}, {{config: name/key}} or {{field: …}} in its place"
        );
    }
    match near {
        // `A: {text}` is a mapping with the field `text`: perhaps a value.
        None if in_env => format!(
            "`{}` has an unknown field; known here: {}",
            dotted(pointer),
            all()
        ),
        Some((_, key)) => format!("unknown field `{full}`: did you mean `{key}`?"),
        None => format!("unknown field `{full}`; known here: {}", all()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::file::parse_file, *};

    fn problems(spec: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: billing, namespace: shop}}\nspec:\n{spec}"
        );
        let (documents, problems) = parse_file("a.yaml", text.as_bytes());
        assert_eq!(problems, vec![]);
        check(&documents[0]).iter().map(ToString::to_string).collect()
    }

    fn says(spec: &str, part: &str) {
        let found = problems(spec);
        assert!(
            found.len() == 1 && found[0].contains(part),
            "{spec}{found:?} instead of {part}"
        );
    }

    #[test]
    fn a_whole_spec_is_fine() {
        let spec = "  preset: phoenix\n  version: \"1.10\"\n  image: ghcr.io/a/b\n  command: [a]\n  port: 4000\n  host: a.b\n  ingress: {class: nginx, annotations: {a: b}}\n  replicas: 3\n  resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}\n  env:\n    A: x\n    B: {secret: db/url}\n    C: {value: x, public: true}\n    D: {generate: hex/32}\n    E:\n  writable: {/tmp: 64Mi}\n  security: {runAsUser: 1000, readOnlyRoot: false}\n  health: {path: /h, port: 1, headers: {a: b}, startup: 2m}\n  processes: {worker: {command: [w], env: {A: y}}}\n  migrate: {command: [m], env: {A: {secret: db/direct}}, timeout: 1h, rerun: 1, compatible: false, resources: {limits: {memory: 2Gi}}}\n  rollout: {strategy: recreate, surge: 25%, deadline: 10m}\n  verify: {window: 1m, maxRestarts: 0}\n  onFailure: hold\n  retain: {revisions: 3}\n  attempt: 1\n  pullSecret: null\n";
        assert_eq!(problems(spec), Vec::<String>::new());
        for short in [
            "  health: /health\n",
            "  migrate: false\n",
            "  migrate: [a, b]\n",
            "  health: null\n  env: null\n",
        ] {
            assert_eq!(problems(short), Vec::<String>::new(), "{short}");
        }
    }

    #[test]
    fn a_misspelt_field_names_the_right_one_and_its_place() {
        assert_eq!(
            problems("  replcias: 2\n"),
            ["a.yaml:5:3: unknown field `replcias`: did you mean `replicas`?"]
        );
        says("  pull_secret: a\n", "did you mean `pullSecret`?");
        says("  Image: a\n", "did you mean `image`?");
        says(
            "  rollout: {minready: 1s}\n",
            "`rollout.minready`: did you mean `minReady`?",
        );
        says(
            "  env: {A: {secrets: a/b}}\n",
            "a.yaml:5:13: unknown field `env.A.secrets`: did you mean `secret`?",
        );
        says("  health: {pth: a}\n", "did you mean `path`?");
        says("  migrate: {comand: [a]}\n", "did you mean `command`?");
        says("  migrate: {compatibel: false}\n", "did you mean `compatible`?");
        says(
            "  migrate: {resources: {limit: {}}}\n",
            "`migrate.resources.limit`: did you mean `limits`?",
        );
        says("  file: {}\n", "did you mean `files`?");
        says("  env_from: []\n", "did you mean `envFrom`?");
        says("  require: []\n", "did you mean `requires`?");
        says(
            "  files: {/a: {secrets: a/b}}\n",
            "`files./a.secrets`: did you mean `secret`?",
        );
        says(
            "  envFrom:\n    - secret: a\n      prefx: A_\n",
            "a.yaml:7:7: unknown field `envFrom.0.prefx`: did you mean `prefix`?",
        );
        says(
            "  processes: {w: {arg: [a]}}\n",
            "`processes.w.arg`: did you mean `args`?",
        );
        says(
            "  qqqqqqqq: 2\n",
            "known here: adopt, args, attempt, build, command",
        );
    }

    #[test]
    fn a_planned_field_is_not_built_yet() {
        for name in PLANNED {
            says(&format!("  {name}: x\n"), &format!("`{name}` is not built yet"));
        }
        says(
            "  processes: {w: {nodeSelector: {}}}\n",
            "`processes.w.nodeSelector` is not built yet",
        );
        says("  verify: {smoke: {}}\n", "`verify.smoke` is not built yet");
        says(
            "  replicas: {min: 1}\n",
            "`replicas` as an object is not built yet",
        );
    }

    #[test]
    fn a_number_or_a_boolean_where_a_text_is_meant_belongs_in_quotes() {
        says(
            "  image: a\n  version: 1.10\n",
            "a.yaml:6:3: `version` must be a text, and YAML reads this as a number: put it in quotes",
        );
        says("  args: [a, 5]\n", "a.yaml:5:13: `args.1` must be a text");
        says("  env: {A: 5}\n", "put numbers and true/false in quotes");
        says("  env: {A: true}\n", "put numbers and true/false in quotes");
        says("  env: {A: {value: 5}}\n", "`env.A.value` must be a text");
        says("  writable: {/tmp: 64}\n", "`writable./tmp` must be a text");
        says("  rollout: {surge: 1}\n", "put it in quotes");
    }

    #[test]
    fn what_a_pod_or_another_program_has_is_told_in_the_form_that_it_has_here() {
        for (spec, part) in [
            (
                "  env:\n  - name: A\n    value: b\n",
                "`env` must be a mapping of fields: write NAME: value for each, not a list as in a Pod",
            ),
            (
                "  env: {A: {valueFrom: {secretKeyRef: {name: db, key: url}}}}\n",
                "`env.A.valueFrom` is of a Pod: write {secret: name/key}",
            ),
            (
                "  files: {/a: text}\n",
                "`files./a` must be a mapping of fields: {secret: name/key} or {config: name/key}",
            ),
            (
                "  envFrom: [s]\n",
                "`envFrom.0` must be a mapping of fields: {secret: name} or {config: name}",
            ),
            (
                "  health: false\n",
                "or {path, port, headers, startup}; to ask for nothing but an open port, leave it out",
            ),
            ("  migrate: {command: [x], retries: -1}\n", "nor less than 0"),
            (
                "  enviroment: {A: b}\n",
                "unknown field `enviroment`: did you mean `env`?",
            ),
            (
                "  processes: {w: {environment: {A: b}}}\n",
                "`processes.w.environment`: did you mean `env`?",
            ),
            ("  healthcheck: /a\n", "did you mean `health`?"),
            ("  readinessProbe: {}\n", "did you mean `health`?"),
            (
                "  env: {DB_PASSWORD: 123456789}\n",
                "`env.DB_PASSWORD` must be a reference to a Secret, {secret: name/key}",
            ),
        ] {
            says(spec, part);
        }
    }

    #[test]
    fn numbers_are_of_decimal_digits() {
        for (number, part) in [
            ("1_000", "`replicas`: `_` is not read in a number: write 1000"),
            ("0x10", "`replicas`: only decimal digits are read: write 16"),
            ("0o17", "`replicas`: only decimal digits are read: write 15"),
            ("017", "`replicas`: a leading zero is not read: write 17"),
        ] {
            says(&format!("  replicas: {number}\n"), part);
        }
        assert_eq!(problems("  replicas: 10\n"), Vec::<String>::new());
    }

    #[test]
    fn yes_is_no_boolean() {
        says(
            "  security:\n    readOnlyRoot: yes\n",
            "a.yaml:6:5: `security.readOnlyRoot` must be true or false",
        );
    }

    #[test]
    fn other_types_say_what_they_must_be_and_where() {
        says(
            "  replicas: \"2\"\n",
            "`replicas` must be a whole number, without quotes",
        );
        says("  port: 80.5\n", "`port` must be a whole number");
        says("  command: run it\n", "`command` must be a list");
        says("  env: [a]\n", "`env` must be a mapping");
        says("  migrate: true\n", "`migrate` must be a command list");
        says("  health: [a]\n", "`health` must be a path");
        says("  args: [null]\n", "`args.0` must be a text");
        says(
            "  onFailure: rolback\n",
            "a.yaml:5:3: `onFailure` must be `rollback` or `hold`",
        );
        says(
            "  rollout:\n    deadline: soon\n",
            "a.yaml:6:5: `rollout.deadline` \"soon\" is not a duration",
        );
        says(
            "  migrate:\n    timeout: soon\n",
            "a.yaml:6:5: `migrate.timeout` \"soon\" is not a duration",
        );
        says(
            "  health: {port: 70000}\n",
            "`health.port` must be a number from 1 to 65535",
        );
        says(
            "  env:\n    A: {secret: x, config: y}\n",
            "such as billing-db/url",
        );
    }

    #[test]
    fn several_mistakes_are_said_at_once() {
        assert_eq!(
            problems("  replcias: 2\n  version: 1\n  env: {A: 1, B: 2}\n").len(),
            4
        );
    }

    #[test]
    fn no_message_repeats_a_value_of_env() {
        for spec in [
            "  env: hunter2\n",
            "  env: [hunter2]\n",
            "  env: {A: [hunter2]}\n",
            "  env: {A: {secret: hunter2}}\n",
            "  env: {A: {secret: HUNTER2hunter2/a}}\n",
            "  env: {A: {generate: hunter2}}\n",
            "  env: {A: {value: hunter2, secret: hunter2}}\n",
            "  env: {A: {value: [hunter2]}}\n",
            "  env: {A: {value: x, public: hunter2}}\n",
            "  env: {A: {hunter2}}\n",
            "  env: {A: 48877348877}\n",
            "  migrate: {env: hunter2}\n",
            "  migrate: {env: {A: {secret: hunter2}}}\n",
            "  migrate: {env: {A: [hunter2]}}\n",
            "  processes: {w: {env: {A: {config: hunter2}}}}\n",
            "  processes: {w: {env: {A: [hunter2]}}}\n",
            "  health: {headers: {a: [hunter2]}}\n",
            "  files: hunter2\n",
            "  files: {/a: hunter2}\n",
            "  files: {/a: {hunter2}}\n",
            "  files: {/a: {value: hunter2}}\n",
            "  files: {/a: {secret: [hunter2]}}\n",
            "  envFrom: hunter2\n",
            "  envFrom: [hunter2]\n",
            "  envFrom: [{hunter2}]\n",
            "  requires: hunter2\n",
        ] {
            let found = problems(spec);
            assert!(!found.is_empty(), "{spec}");
            assert!(
                !found.iter().any(|p| p.contains("hunter2") || p.contains("48877")),
                "{found:?}"
            );
        }
    }
}
