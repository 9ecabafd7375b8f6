//! Passwords in URLs, connection strings and texts of JSON, where a name or the place says what they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    names,
    values::{head, is_literal, tail, until, variable},
};

/// Schemes of servers that are asked with a user: what stands before their `@` is one, even where it could be a port.
const DATABASES: [&str; 12] = [
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "mongodb",
    "redis",
    "rediss",
    "amqp",
    "amqps",
    "ecto",
    "sqlserver",
    "clickhouse",
];
/// No name is longer.
const LONGEST: usize = 64;
/// So much is looked at beside each sign of a password: a text of many costs no more than its length.
const NEAR: usize = 512;

/// Which password a text holds beside what it is for.
#[must_use]
pub fn login(text: &str) -> Option<&'static str> {
    if has_url_password(text) {
        return Some("a URL with a password");
    }
    let drivers = passwords_of_go(text).chain(passwords_of_oracle(text));
    if drivers.into_iter().any(is_literal) || passwords_by_name(text).next().is_some() {
        return Some("a password in a connection string");
    }
    if is_signed(text) {
        return Some("a URL with a signature");
    }
    in_json(text).then_some("a password in a text of JSON")
}

/// All passwords in a text that a URL or a name says are some, those of URLs also where they look like variables: the value
/// of a Secret is what it is.
pub fn passwords(text: &str) -> impl Iterator<Item = &str> {
    of_the_whole(text)
        .into_iter()
        .chain(passwords_of_urls(text))
        .chain(passwords_of_go(text))
        .chain(passwords_of_oracle(text))
        .chain(passwords_by_name(text))
}

/// The password where the whole text is one URL: whatever it holds, nothing but the host ends it.
fn of_the_whole(text: &str) -> Option<&str> {
    let (_, rest) = text.trim().split_once("://")?;
    let (user, _) = rest.split(['/', '?', '#']).next()?.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

/// Whether there is a `scheme://user:password@host` in a text, unless the password is a variable.
#[must_use]
pub fn has_url_password(text: &str) -> bool {
    passwords_of_urls(text).any(is_literal)
}

pub(super) fn passwords_of_urls(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("://").filter_map(|(at, _)| {
        let scheme = text.get(..at).unwrap_or_default();
        let rest = text.get(at + 3..).unwrap_or_default();
        password(scheme, until(head(rest, NEAR), ends))
    })
}

/// What ends a URL in a longer text.
fn ends(c: char) -> bool {
    c.is_whitespace() || ['"', '\''].contains(&c)
}

/// The password of what follows `://`.
fn password<'a>(scheme: &str, url: &'a str) -> Option<&'a str> {
    let authority = until(url, |c| ['/', '?', '#'].contains(&c));
    if let Some((user, _)) = authority.rsplit_once('@') {
        return user.split_once(':').map(|(_, password)| password);
    }
    // One that should have been escaped: what the URL seems to have as its port is none.
    let (user, port) = authority.split_once(':')?;
    // Hosts may be a list.
    let port = port.split(',').next().unwrap_or_default();
    let (before, after) = url.rsplit_once('@')?;
    let database = DATABASES.iter().any(|known| scheme.ends_with(known));
    // An `@` of another host, or of a parameter, is not that of a user.
    let beyond = port.len() <= 5 && before.contains(['?', ',']);
    let database = database && !beyond;
    let is_port = port.is_empty()
        || port.eq_ignore_ascii_case("port")
        || !is_literal(port)
        || (!database || user.contains('.')) && port.bytes().all(|c| c.is_ascii_digit());
    if user.starts_with('[') || is_port || after.starts_with("sha256:") {
        return None;
    }
    before.split_once(':').map(|(_, password)| password)
}

/// `app:password@tcp(db:3306)/shop`, as drivers of Go have it.
fn passwords_of_go(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('@').filter_map(|(at, _)| {
        let (before, after) = (text.get(..at)?, head(text.get(at + 1..)?, LONGEST));
        let net = after.find(|c: char| !c.is_ascii_alphanumeric())?;
        if net == 0 || !after.get(net..)?.starts_with('(') {
            return None;
        }
        let word = tail(before, NEAR).rsplit(ends).next()?;
        let word = word.split_once("://").map_or(word, |(_, rest)| rest);
        let (user, password) = word.split_once(':')?;
        (!user.is_empty()).then_some(password)
    })
}

/// `jdbc:oracle:thin:scott/tiger@db:1521:orcl`.
fn passwords_of_oracle(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(":oracle:").filter_map(|(at, start)| {
        let rest = head(text.get(at + start.len()..)?, NEAR);
        let (_, login) = rest.split_once(':')?;
        let (login, _) = until(login, ends).split_once('@')?;
        let (user, password) = login.split_once('/')?;
        (!user.is_empty()).then_some(password)
    })
}

/// Names of what makes a URL a key for whoever has it, with the least length: Azure's shared access, AWS, Google.
const SIGNATURES: [(&str, usize); 3] = [("sig", 40), ("X-Amz-Signature", 64), ("X-Goog-Signature", 64)];

fn is_signed(text: &str) -> bool {
    SIGNATURES.iter().any(|(name, least)| {
        text.match_indices(name).any(|(at, _)| {
            let (before, after) = (text.get(..at), text.get(at + name.len()..));
            let inside = |c: u8| c.is_ascii_alphanumeric() || b"%+/_-=".contains(&c);
            let value = after
                .and_then(|after| after.strip_prefix('='))
                .unwrap_or_default();
            let length = value.bytes().take(NEAR).take_while(|c| inside(*c)).count();
            before.is_some_and(|before| before.ends_with(['?', '&', ';'])) && length >= *least
        })
    })
}

/// `password=…`, between whatever a driver, a URL or a shell has around it.
fn passwords_by_name(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('=').filter_map(|(at, _)| {
        let (before, after) = (text.get(..at)?, head(text.get(at + 1..)?, NEAR));
        if after.starts_with('=') {
            return None;
        }
        let spaced = before.ends_with(' ') && after.starts_with(' ');
        let name = name(if spaced { before.trim_end() } else { before });
        names::secret_word(name)?;
        let after = if spaced { after.trim_start() } else { after };
        let value = match after.chars().next()? {
            quote @ ('"' | '\'' | '{') => {
                let close = if quote == '{' { '}' } else { quote };
                let inner = after.strip_prefix(quote)?;
                // {{ .password }}
                if inner.starts_with('{') {
                    after
                } else {
                    until(inner, |c| c == close)
                }
            }
            _ => until(after, |c| ends(c) || ['&', ';', ',', ')', '\\', '`'].contains(&c)),
        };
        // A line of a program: password = read()
        let code = spaced && value.contains('(') && variable(value).is_none();
        (!code && names::pair(name, value)).then_some(value)
    })
}

/// The name that a text ends with; none, where it is the value of a variable.
fn name(before: &str) -> &str {
    let inside = |c: u8| c.is_ascii_alphanumeric() || [b'_', b'-', b'.'].contains(&c);
    let long = before
        .bytes()
        .rev()
        .take(LONGEST)
        .take_while(|c| inside(*c))
        .count();
    let (rest, name) = before.split_at(before.len() - long);
    if rest.ends_with(['$', '{']) && !rest.ends_with("{{") {
        return "";
    }
    name
}

/// `"password": "…"`, also within a text in quotation marks.
fn in_json(text: &str) -> bool {
    text.match_indices(':').any(|(at, _)| {
        let (before, after) = text.split_at(at);
        let before = before.trim_end();
        let Some(inner) = before.strip_suffix(['"', '\'']) else {
            return false;
        };
        let inner = inner.trim_end_matches('\\');
        let name = name(inner);
        let opened = inner
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with(['"', '\'']));
        let after = after
            .trim_start_matches(':')
            .trim_start()
            .trim_start_matches('\\');
        let value = if let Some(inner) = after.strip_prefix(['"', '\'']) {
            inner.split(['"', '\'', '\\']).next().unwrap_or_default()
        } else {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            after.get(..digits).unwrap_or_default()
        };
        opened && (names::pair(name, value) || name == "auth" && is_encoded_login(value))
    })
}

/// A user and a password in base64, as the file has them with which images are pulled.
fn is_encoded_login(value: &str) -> bool {
    let decoded = STANDARD.decode(head(value, NEAR)).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref()
        .and_then(|text| text.split_once(':'))
        .is_some_and(|(user, password)| !user.is_empty() && is_literal(password))
}
