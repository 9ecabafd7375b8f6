//! Secrets in an image: what it says of itself, against what must not be in it. Pure.
//!
//! Whoever may pull an image may read its variables, its labels and how it was built. No layer is looked into. What is
//! found is told by its place and its rule, never by its value or a part of it.

use std::{borrow::Cow, collections::BTreeSet};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{
    plan::observed::{Baked, Weight},
    spec::{Declared, firewall},
};

/// Values that are shorter match by chance.
const SHORTEST: usize = 16;
/// Texts of an image that are searched, in bytes. Real ones have less than 100 KiB.
const MOST: usize = 1 << 20;
/// A status has room for less.
const MANY: usize = 40;
/// What builders of images put there by themselves, and what a preset gives each release anew.
const EXPECTED: [&str; 2] = ["RELEASE_COOKIE", "NEXT_SERVER_ACTIONS_ENCRYPTION_KEY"];
/// Variables whose values are built into what browsers are sent: so somebody has decided that they are public.
const PUBLIC: [&str; 7] = [
    "NEXT_PUBLIC_",
    "NUXT_PUBLIC_",
    "EXPO_PUBLIC_",
    "REACT_APP_",
    "GATSBY_",
    "VITE_",
    "PUBLIC_",
];

/// What an image says of itself.
#[derive(Debug, Default)]
pub struct Texts {
    /// Each with its name.
    variables: Vec<(String, SecretString)>,
    /// Each with its name.
    labels: Vec<(String, SecretString)>,
    /// ENTRYPOINT and CMD.
    words: Vec<SecretString>,
    /// How it was built, from the first step.
    steps: Vec<SecretString>,
    /// Whether there was more than is searched.
    cut: bool,
}

// === impl Texts ===

impl Texts {
    /// Of the parts `config` and `history` of an image's config. What has another form than it should have says nothing.
    #[must_use]
    pub fn of(config: &Value, history: &Value) -> Self {
        let mut room = MOST;
        let mut cut = false;
        let mut take = |text: &str| {
            let fits = text.len() <= room;
            if fits {
                room -= text.len();
            }
            cut |= !fits;
            fits.then(|| SecretString::from(text))
        };
        let mut texts = Self::default();
        for variable in list(config.get("Env")) {
            let variable = variable.as_str().unwrap_or_default();
            let (name, value) = variable.split_once('=').unwrap_or_default();
            texts
                .variables
                .extend(take(value).map(|value| (name.to_owned(), value)));
        }
        let labels = config.get("Labels").and_then(Value::as_object);
        for (name, value) in labels.into_iter().flatten() {
            let value = take(value.as_str().unwrap_or_default());
            texts.labels.extend(value.map(|value| (name.clone(), value)));
        }
        let commands = ["Entrypoint", "Cmd"].into_iter();
        for word in commands.flat_map(|key| list(config.get(key))) {
            texts.words.extend(take(word.as_str().unwrap_or_default()));
        }
        for step in list(Some(history)) {
            let text = |key| step.get(key).and_then(Value::as_str).unwrap_or_default();
            texts
                .steps
                .extend(take(&format!("{} {}", text("created_by"), text("comment"))));
        }
        texts.cut = cut;
        texts
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// What must not be in the images of a release, besides what has the form of a token.
pub struct Own<'a> {
    /// The values of its Secrets, each with its reference: `Secret app-db/url`.
    pub values: &'a [(String, SecretString)],
    /// What it declares.
    pub declared: &'a Declared,
}

/// What of it is in an image, the gravest first. `images` are those of its platforms.
#[must_use]
pub fn find(images: &[Texts], own: &Own<'_>) -> Vec<Baked> {
    let mut look = Look::new(own);
    for texts in images {
        look.at(texts);
    }
    look.found.into_iter().take(MANY).collect()
}

struct Look<'a> {
    /// Long enough, with their references.
    own: Vec<(&'a str, &'a str)>,
    /// What git declares to be no secret.
    public: Vec<&'a str>,
    /// The names of the variables that pods are given in place of the image's.
    given: BTreeSet<&'a str>,
    found: BTreeSet<Baked>,
}

impl<'a> Look<'a> {
    fn new(own: &'a Own<'a>) -> Self {
        let long = |text: &&str| text.len() >= SHORTEST;
        let values = own.values.iter().flat_map(|(reference, value)| {
            let value = value.expose_secret().trim();
            let parts = std::iter::once(value).chain(firewall::passwords(value));
            parts.filter(long).map(move |part| (reference.as_str(), part))
        });
        Self {
            own: values.collect(),
            public: own.declared.public_values().filter(long).collect(),
            given: own.declared.variables().collect(),
            found: BTreeSet::new(),
        }
    }

    fn at(&mut self, texts: &Texts) {
        let variables = texts.variables.iter().map(|named| ("variable", named));
        let labels = texts.labels.iter().map(|named| ("label", named));
        for (kind, (name, value)) in variables.chain(labels) {
            let (place, value) = (format!("the {kind} {}", plain(name)), value.expose_secret());
            if !self.own(&place, value) {
                self.rules(&place, name, value);
            }
        }
        let mut before = "";
        for word in texts.words.iter().map(ExposeSecret::expose_secret) {
            // --token VALUE
            let name = if before.starts_with('-') { before } else { "" };
            if !self.own("its command", word) {
                self.word("its command", name, word);
            }
            before = word;
        }
        for (index, step) in texts.steps.iter().enumerate() {
            let place = format!("step {} of its history", index + 1);
            if !self.own(&place, step.expose_secret()) {
                self.step(&place, step.expose_secret(), texts);
            }
        }
        if texts.cut {
            let words = format!(
                "more than {} KiB of texts, of which not all was searched",
                MOST >> 10
            );
            self.add(Weight::Warned, "its config", &words);
        }
    }

    /// Whether a text holds a value of the release's own. Each is told by the first place where it is.
    fn own(&mut self, place: &str, text: &str) -> bool {
        let Some((reference, _)) = self.own.iter().find(|(_, value)| text.contains(value)) else {
            return false;
        };
        let what = format!("the value of {reference}");
        if !self.found.iter().any(|found| found.words.ends_with(&what)) {
            self.add(Weight::Refused, place, &what);
        }
        true
    }

    /// A step of the history: words, among them variables with their values, such as `|1 NPM_TOKEN=… /bin/sh -c npm ci`.
    fn step(&mut self, place: &str, text: &str, texts: &Texts) {
        // Its lines are words.
        if text.contains("-----BEGIN")
            && let Some(rule) = firewall::token(&self.without_public(text))
        {
            self.add(Weight::Refused, place, &rule);
        }
        let edge = |c: char| ['"', '\'', '(', ')', ';', ',', '`'].contains(&c);
        for word in text.split_whitespace().map(|word| word.trim_matches(edge)) {
            // A step that sets a variable is told by the variable.
            let told = |(name, value): (&str, &str)| {
                let mut all = texts.variables.iter();
                all.any(|(known, its)| known == name && its.expose_secret() == value.trim_matches(edge))
            };
            if !word.split_once('=').is_some_and(told) {
                self.word(place, "", word);
            }
        }
    }

    /// A word of a command, which may follow its name or bring it along: `--token=…`, `TOKEN=…`.
    fn word(&mut self, place: &str, name: &str, word: &str) {
        let is_name = |name: &str| {
            name.len() <= 128
                && name
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
        };
        match word.split_once('=').filter(|(name, _)| is_name(name)) {
            Some((name, value)) => self.rules(place, name, value.trim_matches(['"', '\''])),
            None => self.rules(place, name, word),
        }
    }

    /// What a text is by its form, or by its name.
    fn rules(&mut self, place: &str, name: &str, text: &str) {
        let text = self.without_public(text);
        let open = PUBLIC.iter().any(|start| name.starts_with(start));
        let reference = text.starts_with(['$', '<']);
        if let Some(rule) = firewall::token(&text) {
            let weight = if open { Weight::Warned } else { Weight::Refused };
            self.add(weight, place, &rule);
        } else if let Some(rule) = firewall::login(&text) {
            self.add(Weight::Warned, place, rule);
        } else if let Some(word) = firewall::named(name, &text).filter(|_| !open && !reference) {
            let replaced = EXPECTED.contains(&name) || self.given.contains(name);
            let weight = if replaced { Weight::Told } else { Weight::Warned };
            self.add(
                weight,
                place,
                &format!("a text under a name that contains {word}"),
            );
        }
    }

    fn without_public<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for public in &self.public {
            if text.contains(public) {
                text = Cow::Owned(text.replace(public, ""));
            }
        }
        text
    }

    fn add(&mut self, weight: Weight, place: &str, what: &str) {
        let words = format!("{place} holds {what}");
        self.found.insert(Baked { weight, words });
    }
}

/// A name as it can be told: it is from outside, and may hold anything.
fn plain(name: &str) -> String {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || ['_', '-', '.', '/'].contains(&c));
    if name.is_empty() || name.len() > 100 || name.contains(odd) || firewall::has_secret(name) {
        return "with an odd name".to_owned();
    }
    name.to_owned()
}

#[cfg(test)]
mod tests;
