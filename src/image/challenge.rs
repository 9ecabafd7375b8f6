//! `WWW-Authenticate`: how a registry wants to be asked (RFC 9110 §11.6.1).
//!
//! Pure. A header may hold several challenges, and a challenge several parameters, all parted by commas.

/// One way to prove who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Fetch a token from `realm` first.
    Bearer {
        /// The token server's URL.
        realm: String,
        /// What the token server calls the registry.
        service: Option<String>,
    },
    /// Send user and password.
    Basic,
}

/// The challenges of one header that are understood, in their order. Others are skipped.
#[must_use]
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut current: Option<(String, Option<String>, Option<String>)> = None;
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
            .unwrap_or(rest.len());
        let (word, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if word.is_empty() {
            break;
        }
        let tail = tail.trim_start_matches([' ', '\t']);
        if let Some(tail) = tail.strip_prefix('=') {
            let (value, tail) = parameter(tail.trim_start_matches([' ', '\t']));
            if let Some((_, realm, service)) = &mut current {
                match word.to_ascii_lowercase().as_str() {
                    "realm" => *realm = Some(value),
                    "service" => *service = Some(value),
                    _ => {}
                }
            }
            rest = tail;
        } else {
            found.extend(current.take().and_then(finish));
            current = Some((word.to_ascii_lowercase(), None, None));
            rest = tail;
        }
    }
    found.extend(current.and_then(finish));
    found
}

fn finish((scheme, realm, service): (String, Option<String>, Option<String>)) -> Option<Challenge> {
    match scheme.as_str() {
        "bearer" => realm.map(|realm| Challenge::Bearer { realm, service }),
        "basic" => Some(Challenge::Basic),
        _ => None,
    }
}

/// A quoted or bare value, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, quoted.get(at + 1..).unwrap_or("")),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
        }
    }

    #[test]
    fn the_headers_that_registries_send_are_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        assert_eq!(
            parse(hub),
            [bearer("https://auth.docker.io/token", Some("registry.docker.io"))]
        );
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(
            parse("bearer realm=https://t.example"),
            [bearer("https://t.example", None)]
        );
    }

    #[test]
    fn several_challenges_in_one_header_stay_apart() {
        assert_eq!(
            parse(r#"Negotiate, Basic realm="a, b", Bearer realm="https://t.example/\"x\"" , service=s"#),
            [Challenge::Basic, bearer("https://t.example/\"x\"", Some("s"))]
        );
    }

    #[test]
    fn nonsense_yields_nothing_and_ends() {
        for text in [
            "",
            ",,,",
            "Bearer",
            "=",
            "Bearer realm",
            "\"",
            "Bearer service=x",
            "é",
            "Bearer realm=\"x\\",
        ] {
            assert!(parse(text).len() <= 1, "{text:?}");
        }
    }
}
