//! Rules of single values, each with a sentence for the author.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use super::{
    declare::Rejection,
    declared::{EnvSource, Holder},
    document::join,
};
use crate::{
    api::release::EnvValue,
    names::{EnvName, ObjectName},
};

/// Everything that is wrong so far.
#[derive(Debug, Default)]
pub struct Problems(Vec<Rejection>);

impl Problems {
    /// One more.
    pub fn add(&mut self, pointer: String, message: String) {
        self.0.push(Rejection { pointer, message });
    }

    /// One more, where a value would have been.
    pub fn none<T>(&mut self, pointer: &str, message: String) -> Option<T> {
        self.add(pointer.to_owned(), message);
        None
    }

    /// A name, or one more problem.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, pointer: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => self.none(pointer, error.to_string()),
        }
    }

    /// A number of a range, or one more problem.
    pub fn number(&mut self, pointer: &str, value: Option<i64>, default: u32, least: u32, most: u32) -> u32 {
        let Some(value) = value else { return default };
        let number = u32::try_from(value).ok();
        number
            .filter(|number| (least..=most).contains(number))
            .unwrap_or_else(|| {
                self.add(
                    pointer.to_owned(),
                    format!("{value} is out of range; it is a number from {least} to {most}"),
                );
                default
            })
    }

    /// The value, if nothing is wrong.
    pub fn end<T>(self, value: T) -> Result<T, Vec<Rejection>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// Variables whose names are taken or dangerous.
fn reserved(name: &str) -> Option<&'static str> {
    match name {
        "LD_PRELOAD" | "LD_LIBRARY_PATH" | "LD_AUDIT" => Some("it changes what code runs"),
        _ if name.starts_with("KUBERNETES_") => Some("Kubernetes sets it"),
        _ if name.starts_with("SLIPWAY_") => Some("Slipway sets it"),
        _ => None,
    }
}

/// As many as the API server takes in one map of a `Release`.
const MAX_VARIABLES: usize = 200;

/// Variables of a map, their names checked.
pub fn variables(
    pointer: &str,
    env: &BTreeMap<String, EnvValue>,
    problems: &mut Problems,
) -> BTreeMap<EnvName, EnvValue> {
    let mut checked = BTreeMap::new();
    if env.len() > MAX_VARIABLES {
        problems.add(
            pointer.to_owned(),
            format!("has more than {MAX_VARIABLES} variables"),
        );
    }
    for (name, value) in env {
        let at = join(pointer, name);
        if let Some(why) = reserved(name) {
            problems.add(at, format!("{name} cannot be set: {why}"));
            continue;
        }
        let text = match value {
            EnvValue::Literal(text) | EnvValue::Public(text) | EnvValue::Field(text) => text.as_str(),
            EnvValue::Secret(_) | EnvValue::Config(_) | EnvValue::Generate(_) => "",
        };
        if text.len() > 32 * 1024 || text.contains('\0') {
            problems.add(at, "the value has more than 32 KiB or a NUL character".into());
            continue;
        }
        if let EnvValue::Secret(key) = value
            && let Err(message) = of_applications(&key.name)
        {
            problems.add(at, message);
            continue;
        }
        if let EnvValue::Field(path) = value
            && !FIELDS.contains(&path.as_str())
        {
            problems.add(at, format!("{{field: …}} is one of {}", FIELDS.join(", ")));
            continue;
        }
        if let Some(name) = problems.parse::<EnvName>(&at, name) {
            checked.insert(name, value.clone());
        }
    }
    checked
}

/// Whether a Secret of this name may be given to an application.
pub fn of_applications(name: &ObjectName) -> Result<(), String> {
    if name.as_str().starts_with("slipway-") {
        return Err(format!(
            "Secret {name} belongs to Slipway and is not for applications"
        ));
    }
    // Kubernetes ends them in five of these characters, among which there is no vowel.
    let random =
        |end: &str| end.len() == 5 && end.bytes().all(|c| b"bcdfghjklmnpqrstvwxz2456789".contains(&c));
    let token = name.as_str().rsplit_once("-token-");
    if token.is_some_and(|(account, end)| !account.is_empty() && random(end)) {
        return Err(format!(
            "Secret {name} has the name of a ServiceAccount's token, which is not for applications"
        ));
    }
    Ok(())
}

/// What stands before the keys of a whole Secret: with any key it must make the name of a variable that may be set.
pub fn prefix(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<EnvName>().map_err(|error| error.to_string())?;
    let taken = ["KUBERNETES_", "SLIPWAY_", "LD_"];
    match taken.into_iter().find(|taken| text.starts_with(taken)) {
        Some(taken) => Err(format!("variables that begin with {taken} cannot be set")),
        None => Ok(()),
    }
}

/// Fields of a pod that a variable may have (Kubernetes downward API).
const FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
    "status.podIPs",
];

/// Words of a command with the variables that it runs with: passed as they are, never through a shell.
pub fn words(
    pointer: &str,
    words: Option<&[String]>,
    (env, sources): (&BTreeMap<EnvName, EnvValue>, &[EnvSource]),
    problems: &mut Problems,
) {
    let Some(words) = words else { return };
    let in_whole = |name: &EnvName| {
        let mut secrets = sources.iter().filter(|source| source.holder == Holder::Secret);
        secrets.any(|source| source.key_of(name).is_some())
    };
    for (index, word) in words.iter().enumerate() {
        let secret = |name: &&str| {
            name.parse::<EnvName>().is_ok_and(|name| match env.get(&name) {
                Some(value) => matches!(value, EnvValue::Secret(_) | EnvValue::Generate(_)),
                None => in_whole(&name),
            })
        };
        if let Some(name) = expanded(word).into_iter().find(secret) {
            let message = format!(
                "$({name}) would put the value of a secret on the command line, where every list of processes shows it: \
                 let the program read the variable"
            );
            problems.add(format!("{pointer}/{index}"), message);
        }
    }
    let is_command = pointer == "/migrate" || pointer.ends_with("/command");
    if is_command && words.first().is_some_and(|word| word.trim().is_empty()) {
        let message =
            "an empty text is no program: give its path, or leave the command out for that of the image";
        problems.add(format!("{pointer}/0"), message.into());
    }
    if words.iter().map(String::len).sum::<usize>() > 32 * 1024 {
        problems.add(pointer.to_owned(), "a command has at most 32 KiB".into());
    }
    if words.iter().any(|word| word.contains('\0')) {
        problems.add(pointer.to_owned(), "a command cannot hold a NUL character".into());
    }
}

/// The variables that Kubernetes puts into a word for `$(NAME)`; `$$` is a dollar sign.
fn expanded(word: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = word;
    while let Some((_, after)) = rest.split_once('$') {
        let inner = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        rest = match inner {
            Some((name, after)) => {
                names.push(name);
                after
            }
            None => after.strip_prefix('$').unwrap_or(after),
        };
    }
    names
}

/// Texts of a map that look as if variables of the release were to be put into them, which Kubernetes would do.
pub fn verbatim(
    pointer: &str,
    env: &BTreeMap<String, EnvValue>,
    known: &dyn Fn(&EnvName) -> bool,
    problems: &mut Problems,
) {
    for (name, value) in env {
        let (EnvValue::Literal(text) | EnvValue::Public(text)) = value else {
            continue;
        };
        let meant = |inner: &&str| inner.parse().is_ok_and(|inner: EnvName| known(&inner));
        if let Some(inner) = expanded(text).into_iter().find(meant) {
            let message = format!(
                "the program would get $({inner}) as it is written, since values are not put together: put the whole value \
                 into a Secret, or let the program put it together; a text that is meant so goes into a ConfigMap"
            );
            problems.add(join(pointer, name), message);
        }
    }
}

/// The name of an annotation that its author may set on an Ingress.
pub fn annotation(name: &str) -> Result<(), String> {
    let (prefix, own) = name.rsplit_once('/').unwrap_or(("", name));
    let part = |text: &str| {
        let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
        let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        ends(text.as_bytes().first()) && ends(text.as_bytes().last()) && text.bytes().all(inner)
    };
    let prefix_ok = prefix.is_empty() != name.contains('/') && (prefix.is_empty() || part(prefix));
    if !prefix_ok || prefix.len() > 253 || own.len() > 63 || !part(own) {
        return Err(
            "is not the name of an annotation, such as nginx.ingress.kubernetes.io/proxy-body-size".into(),
        );
    }
    let within = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    match prefix {
        "slipway.dev" => Err("is Slipway's own".into()),
        "kubernetes.io" if own == "ingress.class" => Err("give `ingress.class` instead".into()),
        "kubernetes.io"
        | "k8s.io"
        | "kubectl.kubernetes.io"
        | "app.kubernetes.io"
        | "meta.helm.sh"
        | "helm.sh" => Err("is set by Kubernetes and its tools, not by a spec".into()),
        // They would make another program take the object for its own, and prune or sync it.
        _ if within("argoproj.io") || within("fluxcd.io") => {
            Err("belongs to another program that applies objects, and would make it touch this one".into())
        }
        _ => Ok(()),
    }
}

/// An absolute path inside a container.
fn absolute(text: &str) -> bool {
    let parts_ok = text
        .split('/')
        .skip(1)
        .all(|part| !part.is_empty() && part != "." && part != "..");
    text.starts_with('/')
        && parts_ok
        && text.len() <= 512
        && !text.contains(|c: char| c == ':' || c.is_control())
}

fn below_any(roots: &[&str], text: &str) -> bool {
    roots
        .iter()
        .any(|root| text == *root || text.strip_prefix(root).is_some_and(|rest| rest.starts_with('/')))
}

/// A path from the root of a repository on, that stays in it.
pub fn path_within(text: &str) -> Result<(), String> {
    let plain =
        |part: &str| !part.is_empty() && part != ".." && !part.starts_with('-') && !part.starts_with(' ');
    let odd = text.contains(|c: char| c.is_control() || "\\\"'$`".contains(c));
    if odd || !text.split('/').all(plain) || text == ".git" || text.starts_with(".git/") {
        return Err(
            "must be a path from the root of the repository on, without '..', such as apps/shop".into(),
        );
    }
    Ok(())
}

/// An absolute path inside a container that a file may have: one of `/etc` too, but none that decides what code runs or that
/// the kubelet writes itself.
pub fn file_path(text: &str) -> Result<(), String> {
    if !absolute(text) {
        return Err("must be an absolute path without '..', such as /run/secrets/key.pem".into());
    }
    let code = [
        "/bin",
        "/sbin",
        "/lib",
        "/lib64",
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/usr/lib64",
    ];
    let kubelet = [
        "/proc",
        "/sys",
        "/dev",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/run/secrets/kubernetes.io",
        "/var/run/secrets/kubernetes.io",
    ];
    if DIRECTORIES.contains(&text) {
        return Err(format!(
            "is a directory: give the path of a file in it, such as {text}/key.pem"
        ));
    }
    if below_any(&code, text) || below_any(&kubelet, text) {
        return Err("is a path of the system, where no file can be given".into());
    }
    Ok(())
}

/// An absolute path inside a container, not one of the system's.
pub fn path(text: &str) -> Result<(), String> {
    let system = ["/proc", "/sys", "/dev", "/etc", "/bin", "/usr", "/lib"];
    if !absolute(text) {
        return Err("must be an absolute path without '..', such as /app/uploads".into());
    }
    if below_any(&system, text) {
        Err("a path of the system cannot be made writable".into())
    } else {
        Ok(())
    }
}

/// Directories of images. What is mounted over one hides all that is in it, or cannot be mounted at all.
#[rustfmt::skip]
const DIRECTORIES: [&str; 20] = [
    "/app", "/boot", "/etc", "/etc/ssl", "/etc/ssl/certs", "/home", "/media", "/mnt", "/opt", "/root", "/run",
    "/run/secrets", "/srv", "/tmp", "/usr", "/usr/local", "/var", "/var/lib", "/var/log", "/var/run",
];

/// A host name, RFC 1123, with at least one dot, and no address: an Ingress takes none.
pub fn host(text: &str) -> Result<(), String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    };
    let rest = text.strip_prefix("*.").unwrap_or(text);
    let address = rest
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()));
    if text.len() <= 253 && rest.contains('.') && rest.split('.').all(label) {
        if address {
            return Err("must be the name of a host: an Ingress takes no address".into());
        }
        Ok(())
    } else {
        Err("must be a host name in lower case without scheme or port, such as shop.example.com".into())
    }
}
