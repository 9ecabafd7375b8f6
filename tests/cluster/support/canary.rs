//! Values of Secrets in every form in which they could stand somewhere, and the search for them.
//!
//! Each value is looked for as it is, in base64 at whatever place of a longer text, in hexadecimal digits, escaped as in URLs
//! and in JSON, and by its first eight characters. Of what holds secrets beside other things (URLs, keys of several lines, the configuration of
//! Docker) those parts are looked for by themselves. What is found is told by its name and place, never by its value.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use aho_corasick::AhoCorasick;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// What is shorter stands in many texts by chance.
pub const SHORTEST: usize = 8;

/// Where Slipway could write something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Objects of the cluster, but Secrets.
    Objects,
    /// Events, which are objects too.
    Events,
    /// The API server's audit log, with the bodies of requests and answers.
    Audit,
    /// What the controller logs.
    Logs,
    /// What it serves at `/metrics`.
    Metrics,
    /// Its temporary files, and its cache; and what a registry keeps, decompressed.
    Files,
    /// The objects of the git mirrors in that cache, which are compressed.
    Git,
    /// Arguments and environments of its processes.
    Processes,
}

pub const CHANNELS: [Channel; 8] = [
    Channel::Objects,
    Channel::Events,
    Channel::Audit,
    Channel::Logs,
    Channel::Metrics,
    Channel::Files,
    Channel::Git,
    Channel::Processes,
];

/// Something that is searched.
pub struct Text {
    pub channel: Channel,
    /// Which object, file or process.
    pub what: String,
    pub bytes: Vec<u8>,
}

/// A value that stands where it must not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    pub channel: Channel,
    pub what: String,
    /// The name of the value.
    pub of: String,
    pub form: &'static str,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            channel,
            what,
            of,
            form,
        } = self;
        write!(f, "{channel:?}: {what} holds {of} ({form})")
    }
}

/// The search for many values at once.
pub struct Searcher {
    automaton: AhoCorasick,
    /// Name and form of each pattern.
    names: Vec<(String, &'static str)>,
    values: usize,
}

impl Searcher {
    /// For these values, each with its name.
    pub fn new(values: &[(String, Vec<u8>)]) -> Self {
        let (mut names, mut patterns, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut known = BTreeSet::new();
        for (name, value) in values {
            for (form, pattern) in forms(value) {
                known.insert(value);
                if seen.insert(pattern.clone()) {
                    names.push((name.clone(), form));
                    patterns.push(pattern);
                }
            }
        }
        Self {
            automaton: AhoCorasick::new(&patterns).unwrap(),
            names,
            values: known.len(),
        }
    }

    /// How many values are looked for, and by how many patterns.
    pub fn size(&self) -> (usize, usize) {
        (self.values, self.names.len())
    }

    /// All that stands in these texts, each once for each of them.
    pub fn search(&self, texts: &[Text]) -> BTreeSet<Leak> {
        let mut leaks = BTreeSet::new();
        for text in texts {
            for found in self.automaton.find_overlapping_iter(&text.bytes) {
                let (of, form) = &self.names[found.pattern().as_usize()];
                leaks.insert(Leak {
                    channel: text.channel,
                    what: text.what.clone(),
                    of: of.clone(),
                    form,
                });
            }
        }
        leaks
    }
}

// === forms ===

/// Every form of a value, with the name of the form; none of a value that is too short.
pub fn forms(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    parts(value)
        .into_iter()
        .filter(|(_, part)| part.len() >= SHORTEST)
        .flat_map(|(own, part)| forms_of(&part, own))
        .collect()
}

/// The parts of a value that are secrets by themselves, and whether their beginning is theirs alone.
fn parts(value: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let Ok(text) = std::str::from_utf8(value) else {
        return vec![(true, value.to_vec())];
    };
    let text = text.trim();
    if let Ok(Value::Object(config)) = serde_json::from_str(text) {
        let mut found = Vec::new();
        passwords(&Value::Object(config), &mut found);
        return found.into_iter().map(|part| (true, part.into_bytes())).collect();
    }
    if text.contains("-----BEGIN") {
        let lines = text.lines().map(str::trim);
        let inner = lines.filter(|line| !line.starts_with("-----") && line.len() >= 16);
        return inner.map(|line| (false, line.as_bytes().to_vec())).collect();
    }
    let password = text.split_once("://").and_then(|(_, rest)| {
        let (user, _) = rest.split(['/', '?']).next()?.rsplit_once('@')?;
        Some(user.split_once(':')?.1.to_owned())
    });
    match password {
        Some(password) => vec![(false, text.as_bytes().to_vec()), (true, password.into_bytes())],
        None => vec![(true, text.as_bytes().to_vec())],
    }
}

fn passwords(value: &Value, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::String(text) if ["password", "auth", "identitytoken"].contains(&name.as_str()) => {
                found.push(text.clone());
            }
            other => passwords(other, found),
        }
    }
}

fn forms_of(part: &[u8], own: bool) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = vec![("as it is", part.to_vec())];
    for offset in 0..3 {
        found.push(("in base64", inner_base64(part, offset).into_bytes()));
    }
    let urlsafe: Vec<(&'static str, Vec<u8>)> = found
        .iter()
        .skip(1)
        .map(|(_, text)| {
            let text = String::from_utf8_lossy(text).replace('+', "-").replace('/', "_");
            ("in base64", text.into_bytes())
        })
        .collect();
    found.extend(urlsafe);
    let digits = hex(part);
    found.push(("in hexadecimal digits", digits.to_uppercase().into_bytes()));
    found.push(("in hexadecimal digits", digits.into_bytes()));
    found.push(("in a URL", percent(part, "%20").into_bytes()));
    found.push(("in a URL", percent(part, "+").into_bytes()));
    if let Ok(text) = std::str::from_utf8(part) {
        found.push(("in JSON", escaped(text).into_bytes()));
        // As in the text of an object that is kept in another object.
        found.push(("in JSON", escaped(&escaped(text)).into_bytes()));
        let start: String = text.chars().take(SHORTEST).collect();
        // Digests and identifiers have every beginning of a hexadecimal number.
        if own && !start.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            found.push(("by its beginning", start.into_bytes()));
        }
    } else if own {
        found.push(("by its beginning", part[..SHORTEST].to_vec()));
    }
    found.retain(|(_, pattern)| pattern.len() >= SHORTEST);
    found
}

/// What is the same in the base64 of every text in which the value begins `offset` bytes after a multiple of three.
fn inner_base64(part: &[u8], offset: usize) -> String {
    let text = STANDARD.encode([&vec![0; offset], part].concat());
    let text = text.trim_end_matches('=');
    let head = [0, 2, 3][offset];
    let tail = usize::from(!(offset + part.len()).is_multiple_of(3));
    text[head..text.len() - tail].to_owned()
}

pub fn hex(part: &[u8]) -> String {
    let digits = part.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

fn percent(part: &[u8], space: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    part.iter()
        .map(|byte| match byte {
            b' ' => space.to_owned(),
            byte if plain(*byte) => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

// === readers ===

/// The items of a list, without Secrets; events by themselves.
pub fn of_objects(list: &Value) -> Vec<Text> {
    let items = list["items"].as_array().into_iter().flatten();
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    items
        .filter(|item| item["kind"] != "Secret")
        .map(|item| Text {
            channel: if item["kind"] == "Event" {
                Channel::Events
            } else {
                Channel::Objects
            },
            what: format!(
                "{} {}/{}",
                word(&item["kind"]),
                word(&item["metadata"]["namespace"]),
                word(&item["metadata"]["name"])
            ),
            bytes: item.to_string().into_bytes(),
        })
        .collect()
}

/// Each line of an audit log, by who asked for what.
pub fn of_audit(log: &[u8]) -> Vec<Text> {
    // Not parsed: there are hundreds of megabytes of it.
    let line = |line: &[u8]| {
        let head = String::from_utf8_lossy(&line[..line.len().min(2_000)]).into_owned();
        let word = |key: &str| {
            let (_, rest) = head.split_once(&format!("\"{key}\":\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let words = ["username", "verb", "requestURI"].map(|key| word(key).unwrap_or_else(|| "?".to_owned()));
        Text {
            channel: Channel::Audit,
            what: words.join(" "),
            bytes: line.to_vec(),
        }
    };
    log.split(|byte| *byte == b'\n')
        .filter(|text| !text.is_empty())
        .map(line)
        .collect()
}

/// Every file below a folder. What was compressed is read, and of git repositories each object.
pub fn of_folder(channel: Channel, folder: &Path) -> Vec<Text> {
    let mut found = Vec::new();
    let text = |channel, path: &Path, bytes| Text {
        channel,
        what: path.display().to_string(),
        bytes,
    };
    if folder.join("HEAD").is_file() && folder.join("objects").is_dir() {
        found.push(text(Channel::Git, folder, of_git(folder)));
    }
    for path in entries(folder) {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(of_folder(channel, &path));
        } else if path.is_file() {
            // What has gone meanwhile was a temporary file of something that still runs.
            let bytes = if path.extension().is_some_and(|end| end == "gz") {
                Command::new("gzip")
                    .arg("-dc")
                    .arg(&path)
                    .output()
                    .map(|output| output.stdout)
            } else {
                fs::read(&path)
            };
            found.push(text(channel, &path, bytes.unwrap_or_default()));
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten();
    let mut all: Vec<PathBuf> = all.flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

fn of_git(repository: &Path) -> Vec<u8> {
    let output = Command::new("git")
        .arg("--git-dir")
        .arg(repository)
        .args(["cat-file", "--batch-all-objects", "--batch", "--buffer"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}: {}",
        repository.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Arguments and environment of every process of this name that the host sees.
pub fn of_processes(name: &str) -> Vec<Text> {
    let processes = entries(Path::new("/proc")).into_iter().filter(|path| {
        let command = fs::read_to_string(path.join("comm")).unwrap_or_default();
        command.trim() == name
    });
    let parts = processes.flat_map(|path| ["cmdline", "environ"].map(|part| path.join(part)));
    parts
        .map(|path| Text {
            channel: Channel::Processes,
            what: path.display().to_string(),
            bytes: fs::read(&path).unwrap_or_default(),
        })
        .collect()
}
