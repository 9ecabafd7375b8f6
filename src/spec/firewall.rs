//! The secret firewall: values that must not be in git. It looks at structure, not only at characters, and it never
//! repeats what it found: a finding has a rule and a length.

use serde_json::{Map, Value};

use super::{
    document::join,
    form::{FORM, Form},
};
use crate::api::ReleaseSpec;

mod advice;
mod commands;
mod lines;
mod names;
mod tokens;
mod urls;
mod values;

pub use commands::in_script;
pub use lines::{Found, in_line};
pub use names::{named, secret_word};
pub use tokens::token;
pub use urls::{has_url_password, login, passwords};

/// A value that must not be in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// JSON pointer into the spec.
    pub pointer: String,
    /// What is wrong and what to do; never the value.
    pub message: String,
}

/// Everything in a spec that must not be there.
#[must_use]
pub fn scan(spec: &ReleaseSpec) -> Vec<Finding> {
    serde_json::to_value(spec).map_or_else(|_| Vec::new(), |value| scan_value(&value))
}

/// The same of a spec as it is written: a mistake beside a secret, or around it, does not hide it.
#[must_use]
pub fn scan_value(spec: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    walk("", "", Known::Form(&FORM), spec, &mut findings);
    findings
}

/// Whether a place of a spec is known.
#[derive(Clone, Copy)]
enum Known<'a> {
    /// It has this form.
    Form(&'a Form),
    /// It is below a known field, and of another form.
    Otherwise,
    /// It is below a name that is no field: a misspelt `env`, or that of another program. All names are judged there, since a
    /// mistake must not hide a secret.
    No,
}

impl Known<'_> {
    fn field(self, name: &str) -> Self {
        match self {
            Self::Form(Form::Fields(known) | Form::Either(_, _, known)) => {
                known.get(name).map_or(Self::No, Self::Form)
            }
            Self::Form(Form::Map(inner)) => Self::Form(inner),
            Self::Form(_) | Self::Otherwise => Self::Otherwise,
            Self::No => Self::No,
        }
    }

    fn element(self) -> Self {
        match self {
            Self::Form(Form::List(inner)) => Self::Form(inner),
            Self::Form(_) | Self::Otherwise => Self::Otherwise,
            Self::No => Self::No,
        }
    }
}

/// What has no form of a secret and may be one all the same: it looks random, or has a name that says so in a place where
/// names say less. A person is told, and nothing is refused.
#[must_use]
pub fn suspects(spec: &Value) -> Vec<Finding> {
    let (certain, mut found) = (scan_value(spec), Vec::new());
    suspect("", ["", ""], spec, &mut found);
    found.retain(|suspect: &Finding| certain.iter().all(|finding| finding.pointer != suspect.pointer));
    found
}

/// Whether a text holds something that is a secret by its form alone.
#[must_use]
pub fn has_secret(text: &str) -> bool {
    literal(text).is_some()
}

/// Whether a line of a longer text may hold something for [`in_line`].
#[must_use]
pub fn may_hold(text: &str) -> bool {
    token(text).is_some() || has_url_password(text)
}

/// What a text is by itself, whatever its name.
fn literal(text: &str) -> Option<String> {
    token(text).or_else(|| login(text).map(ToOwned::to_owned))
}

/// `names` are the last two of the pointer.
fn suspect(pointer: &str, names: [&str; 2], value: &Value, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => {
            let random = values::looks_random(text) && !names::is_of_public_key(names[1]);
            let random = random.then(|| "that look random".to_owned());
            let what = random.or_else(|| {
                let word = doubtful(names, text)?;
                Some(format!("under a name that contains {word}"))
            });
            if what.is_none() && names[0] == "env" && urls::passwords_of_urls(text).any(values::is_of_shell) {
                findings.push(Finding {
                    message: "nothing expands `$…` here, so the program would get the password of this URL as it is written: \
                              put the whole URL into a Secret and refer to it by {secret: name/key}"
                        .to_owned(),
                    pointer: pointer.to_owned(),
                });
            }
            findings.extend(what.map(|what| Finding {
                message: format!(
                    "may be a secret ({} characters {what}): if it is one, {}",
                    text.chars().count(),
                    advice::suspect(pointer)
                ),
                pointer: pointer.to_owned(),
            }));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                suspect(&format!("{pointer}/{index}"), ["", ""], item, findings);
            }
        }
        Value::Object(fields) if !is_public(value) => {
            for (name, item) in fields {
                suspect(&join(pointer, name), [names[1], name], item, findings);
            }
        }
        _ => {}
    }
}

/// The word for a secret in a name that does not settle it.
fn doubtful([map, name]: [&str; 2], text: &str) -> Option<&'static str> {
    match map {
        "env" => matches!(names::login(name, text), Some(names::Login::Likely)).then_some("AUTH"),
        "annotations" | "labels" | "headers" => {
            let name = name.rsplit('/').next().unwrap_or(name);
            // `nginx.ingress.kubernetes.io/auth-secret` is the name of a Secret.
            named(name, text).filter(|word| map == "headers" || *word != "SECRET")
        }
        _ => None,
    }
}

fn walk(pointer: &str, key: &str, known: Known<'_>, value: &Value, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => {
            let inside = |found: &Finding| {
                let below = pointer.strip_prefix(found.pointer.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(rule) = literal(text).filter(|_| !findings.iter().any(inside)) {
                findings.push(finding(pointer.to_owned(), &rule, text));
            }
        }
        Value::Array(items) => {
            if ["command", "args", "migrate"].contains(&key) {
                scan_words(pointer, "", items, findings);
            }
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{pointer}/{index}"), "", known.element(), item, findings);
            }
        }
        Value::Object(fields) if !is_public(value) => {
            scan_pair(pointer, fields, findings);
            let map = ["env", "args", "files", "annotations", "labels", "headers"].contains(&key);
            for (name, item) in fields {
                if map {
                    scan_entry(pointer, key, (name, item), findings);
                } else if matches!(known.field(name), Known::No) && !names_one(name, item) {
                    // That there is no such field is said of it, and does not repeat a token either.
                    if matches!(known, Known::No) || token(name).is_none() {
                        scan_entry(pointer, "env", (name, item), findings);
                    }
                }
            }
            // What a program is, says what its flags are.
            if let Some(args) = fields.get("args").and_then(Value::as_array) {
                let program = fields.get("command").and_then(|command| command.get(0));
                let program = program.and_then(Value::as_str).unwrap_or_default();
                scan_words(&join(pointer, "args"), program, args, findings);
            }
            for (name, item) in fields {
                walk(&join(pointer, name), name, known.field(name), item, findings);
            }
        }
        _ => {}
    }
}

/// `{value: …, public: true}`: what its author declared to be no secret. Nothing else has a field `public`, and where one
/// stands in a wrong place it hides nothing.
fn is_public(value: &Value) -> bool {
    let fields = value.as_object();
    fields.is_some_and(|fields| fields.len() == 2 && fields.contains_key("value"))
        && value.get("public") == Some(&Value::Bool(true))
}

/// Fields of other programs whose value is the name of a Secret: `secret: shop/tls`, `tlsSecret: shop-tls`.
fn names_one(field: &str, value: &Value) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || [b'-', b'/'].contains(&c);
    let name = || value.as_str().is_some_and(|text| text.bytes().all(plain));
    ["secret", "secrets"].contains(&field) || field.contains("Secret") && name()
}

/// `{name: DB_PASSWORD, value: …}`, as a Pod has its variables.
fn scan_pair(pointer: &str, fields: &Map<String, Value>, findings: &mut Vec<Finding>) {
    let name = fields.get("name").and_then(Value::as_str);
    let (Some(name), Some(text)) = (name, fields.get("value").and_then(scalar)) else {
        return;
    };
    if let Some(message) = judged(&join(pointer, "value"), "env", name, &text) {
        findings.push(message);
    }
}

/// A text with a name: a variable, a file, a header.
fn scan_entry(pointer: &str, map: &str, (name, value): (&str, &Value), findings: &mut Vec<Finding>) {
    // Its own place would repeat it.
    if let Some(rule) = token(name) {
        findings.push(finding(pointer.to_owned(), &format!("{rule} as a name"), name));
        return;
    }
    let text = scalar(value).or_else(|| value.get("value").and_then(scalar));
    let Some(text) = text.filter(|_| !is_public(value)) else {
        return;
    };
    let pointer = join(pointer, name);
    if !findings.iter().any(|finding| finding.pointer == pointer) {
        findings.extend(judged(&pointer, map, name, &text));
    }
}

/// A text, or a number that was meant to be one.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What is wrong with a text, by itself or by its name.
fn judged(pointer: &str, map: &str, name: &str, text: &str) -> Option<Finding> {
    if let Some(rule) = literal(text) {
        return Some(finding(pointer.to_owned(), &rule, text));
    }
    // Nothing is put into a value, so what a shell or `envsubst` would take for a variable is a text like any other.
    if map == "env" && values::is_of_shell(text) {
        return names::word(name).map(|word| {
            if values::is_name_of_shell(text) {
                unexpanded(pointer.to_owned(), text)
            } else {
                finding(pointer.to_owned(), &under(word), text)
            }
        });
    }
    by_name(map, name, text).map(|rule| finding(pointer.to_owned(), &rule, text))
}

/// What a text is by its name, where names of that kind leave no doubt.
fn by_name(map: &str, name: &str, text: &str) -> Option<String> {
    let word = match map {
        "annotations" | "labels" => None,
        "headers" => names::header(name, text),
        _ => named(name, text).or_else(|| {
            let certain = matches!(names::login(name, text), Some(names::Login::Certain));
            certain.then_some("AUTH")
        }),
    };
    word.map(under)
}

fn under(word: &str) -> String {
    format!("a literal under a name that contains {word}")
}

/// Most are a mistake, and some are a password that begins with a dollar sign.
fn unexpanded(pointer: String, text: &str) -> Finding {
    Finding {
        message: format!(
            "nothing expands `$…` here, so the program would get these {} characters as they are written: refer to a Secret \
             by {{secret: name/key}}; if they are the secret itself, change it where it is used, too, since git keeps history",
            text.chars().count()
        ),
        pointer,
    }
}

fn scan_words(pointer: &str, program: &str, words: &[Value], findings: &mut Vec<Finding>) {
    let words: Vec<&str> = words
        .iter()
        .map(|item| item.as_str().unwrap_or_default())
        .collect();
    for (index, rule) in commands::scan(program, &words) {
        let pointer = format!("{pointer}/{index}");
        if !findings.iter().any(|finding| finding.pointer == pointer) {
            let word = words.get(index).copied().unwrap_or_default();
            findings.push(finding(pointer, &rule, word));
        }
    }
}

fn finding(pointer: String, rule: &str, value: &str) -> Finding {
    Finding {
        message: format!(
            "looks like a secret ({rule}, {} characters): {}",
            value.chars().count(),
            advice::certain(&pointer)
        ),
        pointer,
    }
}

#[cfg(test)]
mod tests;
