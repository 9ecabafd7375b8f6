//! What the reference of an image says: its name, its tag, which distribution it is made of, and whose version it has.

/// A reference, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// Everything before the tag.
    pub repository: &'a str,
    /// The last part of the repository.
    pub name: &'a str,
    pub tag: Option<&'a str>,
    /// Whether it names one image for ever.
    pub digest: bool,
}

impl<'a> Reference<'a> {
    pub fn of(text: &'a str) -> Self {
        let (rest, digest) = text
            .split_once('@')
            .map_or((text, false), |(rest, _)| (rest, true));
        let slash = rest.rfind('/').map_or(0, |slash| slash + 1);
        let last = rest.get(slash..).unwrap_or(rest);
        let (name, tag) = match last.split_once(':') {
            Some((name, tag)) => (name, Some(tag).filter(|tag| !tag.is_empty())),
            None => (last, None),
        };
        let repository = rest.get(..slash + name.len()).unwrap_or(rest);
        Self {
            repository,
            name,
            tag,
            digest,
        }
    }
}

/// A distribution, by whose C library and packages everything in an image goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Debian,
    Ubuntu,
    Alpine,
}

/// A release of a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suite {
    pub family: Family,
    /// `bookworm`, `noble`, `3.19`; `None` where the tag does not say it.
    pub name: Option<String>,
}

/// What an official image is of whose tag does not say it.
fn by_default(reference: &Reference<'_>, words: &[&str]) -> Option<Suite> {
    let official = reference.repository == reference.name
        || reference
            .repository
            .strip_suffix(reference.name)
            .is_some_and(|before| before.ends_with("library/"));
    let elsewhere = ["windowsservercore", "nanoserver"];
    let known = OF_DEBIAN.contains(&reference.name) && !words.iter().any(|word| elsewhere.contains(word));
    (official && known).then_some(Suite {
        family: Family::Debian,
        name: None,
    })
}

const DEBIAN: [(&str, &str); 8] = [
    ("8", "jessie"),
    ("9", "stretch"),
    ("10", "buster"),
    ("11", "bullseye"),
    ("12", "bookworm"),
    ("13", "trixie"),
    ("14", "forky"),
    ("15", "duke"),
];
const UBUNTU: [(&str, &str); 8] = [
    ("16.04", "xenial"),
    ("18.04", "bionic"),
    ("20.04", "focal"),
    ("22.04", "jammy"),
    ("24.04", "noble"),
    ("24.10", "oracular"),
    ("25.04", "plucky"),
    ("25.10", "questing"),
];

/// Official images that are of Debian where their tag names no distribution
/// (<https://github.com/docker-library/official-images>).
const OF_DEBIAN: [&str; 19] = [
    "buildpack-deps",
    "elixir",
    "erlang",
    "gcc",
    "golang",
    "haskell",
    "httpd",
    "julia",
    "mariadb",
    "nginx",
    "node",
    "perl",
    "php",
    "postgres",
    "pypy",
    "python",
    "redis",
    "ruby",
    "rust",
];

impl Suite {
    /// What the name and the tag of an image say of it.
    pub fn of(text: &str) -> Option<Self> {
        let reference = Reference::of(text);
        let tag = reference.tag.unwrap_or_default();
        let own = match reference.name {
            "debian" => Some(Family::Debian),
            "ubuntu" => Some(Family::Ubuntu),
            "alpine" => Some(Family::Alpine),
            _ => None,
        };
        if let Some(family) = own {
            let first = tag.split('-').next().unwrap_or_default();
            return Some(Self {
                family,
                name: family.release(first),
            });
        }
        // gcr.io/distroless/cc-debian12:nonroot
        let words: Vec<&str> = tag.split('-').chain(reference.name.split('-')).collect();
        let mut suites = words.iter().enumerate().filter_map(|(at, word)| {
            let next = words.get(at + 1).copied().unwrap_or_default();
            Self::of_word(word, next)
        });
        // 3.12-slim-bookworm: the release may stand behind what only says the family.
        let Some(first) = suites.next() else {
            return by_default(&reference, &words);
        };
        if first.name.is_some() {
            return Some(first);
        }
        let named = suites.find(|suite| suite.family == first.family && suite.name.is_some());
        Some(named.unwrap_or(first))
    }

    fn of_word(word: &str, next: &str) -> Option<Self> {
        let families = [
            (Family::Debian, "debian"),
            (Family::Ubuntu, "ubuntu"),
            (Family::Alpine, "alpine"),
        ];
        for (family, start) in families {
            // alpine3.19, debian-12, debian-bookworm, ubuntu-24.04
            if let Some(rest) = word.strip_prefix(start) {
                let release = if rest.is_empty() { next } else { rest };
                return Some(Self {
                    family,
                    name: family.release(release),
                });
            }
        }
        let named = |known: &[(&str, &str)]| known.iter().any(|(_, name)| *name == word);
        let family = match word {
            _ if named(&DEBIAN) => Family::Debian,
            _ if named(&UBUNTU) => Family::Ubuntu,
            // Whoever calls a tag slim makes it of Debian.
            "slim" => Family::Debian,
            _ => return None,
        };
        Some(Self {
            family,
            name: family.release(word),
        })
    }

    /// Whether something that was compiled on one may not run on the other.
    pub fn differs(&self, other: &Self) -> bool {
        let both = self.name.as_ref().zip(other.name.as_ref());
        self.family != other.family || both.is_some_and(|(one, other)| one != other)
    }

    pub fn words(&self) -> String {
        let family = match self.family {
            Family::Debian => "Debian",
            Family::Ubuntu => "Ubuntu",
            Family::Alpine => "Alpine",
        };
        let name = self.name.as_ref();
        name.map_or_else(|| family.to_owned(), |name| format!("{family} {name}"))
    }
}

impl Family {
    /// The name of a release, by its name or number.
    fn release(self, text: &str) -> Option<String> {
        let known: &[(&str, &str)] = match self {
            Self::Debian => &DEBIAN,
            Self::Ubuntu => &UBUNTU,
            Self::Alpine => {
                let mut numbers = text.split('.');
                let (major, minor) = (numbers.next()?, numbers.next()?);
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
                return (digits(major) && digits(minor)).then(|| format!("{major}.{minor}"));
            }
        };
        let number = match self {
            Self::Debian => text.split('.').next().unwrap_or(text),
            _ => text,
        };
        known
            .iter()
            .find(|(of, name)| *of == number || *name == text)
            .map(|(_, name)| (*name).to_owned())
    }
}

/// What a base image has of a language, as far as its tag says it: the tool's name in `.tool-versions`, and the version.
pub(super) fn versions(text: &str) -> Vec<(&'static str, &str)> {
    let reference = Reference::of(text);
    let Some(tag) = reference.tag else {
        return Vec::new();
    };
    let own = match reference.name {
        "elixir" => "elixir",
        "erlang" => "erlang",
        "node" => "nodejs",
        "python" => "python",
        "ruby" => "ruby",
        "golang" => "golang",
        "rust" => "rust",
        "bun" => "bun",
        "deno" => "deno",
        "eclipse-temurin" | "openjdk" | "amazoncorretto" => "java",
        _ => return Vec::new(),
    };
    let number = |text: &str| {
        text.trim_start_matches('v')
            .starts_with(|c: char| c.is_ascii_digit())
    };
    let mut words = tag.split('-');
    let first = words.next().filter(|first| number(first));
    let mut found: Vec<_> = first.map(|first| (own, first)).into_iter().collect();
    let rest: Vec<&str> = words.collect();
    for pair in rest.windows(2) {
        if let [word, version] = pair
            && own == "elixir"
            && ["otp", "erlang"].contains(word)
            && number(version)
        {
            found.push(("erlang", version));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_a_name_a_tag_and_a_digest() {
        let parts = |text| {
            let found = Reference::of(text);
            (found.repository, found.name, found.tag, found.digest)
        };
        assert_eq!(parts("node"), ("node", "node", None, false));
        assert_eq!(
            parts("localhost:5000/team/node"),
            ("localhost:5000/team/node", "node", None, false)
        );
        assert_eq!(
            parts("ghcr.io/a/node:22@sha256:00"),
            ("ghcr.io/a/node", "node", Some("22"), true)
        );
        assert_eq!(parts("node:"), ("node", "node", None, false));
    }

    #[test]
    fn suites_are_read_from_tags_of_every_kind() {
        for (text, words) in [
            (
                "hexpm/elixir:1.17.2-erlang-27.0-debian-bookworm-20240701-slim",
                "Debian bookworm",
            ),
            ("hexpm/elixir:1.17.2-erlang-27.0-alpine-3.19.1", "Alpine 3.19"),
            (
                "hexpm/elixir:1.17.2-erlang-27.0-ubuntu-noble-20240605",
                "Ubuntu noble",
            ),
            ("debian:bookworm-20240701-slim", "Debian bookworm"),
            ("debian:12.5-slim", "Debian bookworm"),
            ("debian:stable", "Debian"),
            ("docker.io/library/debian", "Debian"),
            ("ubuntu:24.04", "Ubuntu noble"),
            ("ubuntu:noble-20240605", "Ubuntu noble"),
            ("alpine:3.19.1", "Alpine 3.19"),
            ("alpine", "Alpine"),
            ("node:22-alpine", "Alpine"),
            ("node:22-alpine3.19", "Alpine 3.19"),
            ("node:22-bookworm-slim", "Debian bookworm"),
            ("python:3.12-slim", "Debian"),
            ("python:3.12-slim-bookworm", "Debian bookworm"),
            ("rust:1.89-bookworm", "Debian bookworm"),
            ("gcr.io/distroless/cc-debian12:nonroot", "Debian bookworm"),
            ("ruby:3.3-bookworm@sha256:00", "Debian bookworm"),
            ("rust:1.89", "Debian"),
            ("elixir:1.17", "Debian"),
            ("docker.io/library/python:3.12", "Debian"),
            ("mirror.example.com/library/node", "Debian"),
            ("golang:1.22-alpine", "Alpine"),
            ("nginx:1.27", "Debian"),
        ] {
            assert_eq!(
                Suite::of(text).map(|suite| suite.words()).as_deref(),
                Some(words),
                "{text}"
            );
        }
        for text in [
            "golang:1.22-windowsservercore",
            "ghcr.io/acme/rust:1.89",
            "scratch",
            "busybox",
            "ghcr.io/acme/base:4",
            "",
        ] {
            assert_eq!(Suite::of(text), None, "{text}");
        }
    }

    #[test]
    fn suites_differ_by_family_or_by_release_but_not_by_what_is_unknown() {
        let differs = |a: &str, b: &str| Suite::of(a).unwrap().differs(&Suite::of(b).unwrap());
        assert!(differs("debian:bookworm", "debian:trixie"));
        assert!(differs("python:3.12-slim", "alpine:3.19"));
        assert!(differs("alpine:3.18", "alpine:3.19.1"));
        assert!(differs("debian:12", "ubuntu:24.04"));
        assert!(!differs("debian:12", "debian:bookworm-slim"));
        assert!(!differs("node:22-alpine", "alpine:3.19"));
        assert!(!differs("rust:1.89-bookworm", "gcr.io/distroless/cc-debian12"));
    }

    #[test]
    fn tags_say_which_version_of_a_language_is_within() {
        assert_eq!(
            versions("hexpm/elixir:1.17.2-erlang-27.0-debian-bookworm-20240701-slim"),
            [("elixir", "1.17.2"), ("erlang", "27.0")]
        );
        assert_eq!(
            versions("elixir:1.16-otp-26-alpine"),
            [("elixir", "1.16"), ("erlang", "26")]
        );
        assert_eq!(versions("node:22.3.0-alpine"), [("nodejs", "22.3.0")]);
        for text in ["node:lts-alpine", "node", "nginx:1.27", "acme/base:1.2"] {
            assert_eq!(versions(text), [], "{text}");
        }
    }
}
