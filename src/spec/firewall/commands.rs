//! Passwords in commands: whoever may list processes reads them. A word of a command may be a command itself.

use super::{
    names,
    tokens::token,
    urls,
    values::{is_literal, variable},
};

/// How a flag has its password.
#[derive(Clone, Copy, PartialEq)]
enum Has {
    /// In the same word alone: `-phunter22`, and `-p` asks for it.
    Joined,
    /// In the same word, or as the next one.
    Either,
    /// The same, after a user: `-u admin:hunter22`.
    Login,
}

/// Flags that have no name, by the beginning of the program's.
const FLAGS: [(&str, &str, Has); 14] = [
    ("mysql", "-p", Has::Joined),
    ("mariadb", "-p", Has::Joined),
    ("sshpass", "-p", Has::Either),
    ("mongo", "-p", Has::Either),
    ("redis-cli", "-a", Has::Either),
    ("valkey-cli", "-a", Has::Either),
    ("sqlcmd", "-P", Has::Either),
    ("ldap", "-w", Has::Either),
    // docker, helm, skopeo
    ("login", "-p", Has::Either),
    ("curl", "-u", Has::Login),
    ("curl", "--user", Has::Login),
    ("curl", "-U", Has::Login),
    ("curl", "--proxy-user", Has::Login),
    ("wget", "--user", Has::Login),
];
/// Flags of other programs that begin with such a letter.
const WORDS: [&str; 11] = [
    "-pages",
    "-parallel",
    "-path",
    "-pid",
    "-plugin",
    "-pool",
    "-port",
    "-prefix",
    "-profile",
    "-progress",
    "-protocol",
];
/// A command in a command in a command.
const DEEPEST: usize = 4;

/// The words of a command that hold a secret, by their number, and the rule. `program` is what the words are given to, where
/// they do not say it themselves.
pub(super) fn scan(program: &str, words: &[&str]) -> Vec<(usize, String)> {
    let mut line = Line::default();
    line.sees(program);
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let one = !word.contains(char::is_whitespace);
        let holds = line.holds(word, one) || !one && script(word, 0);
        let rule = token(word).or_else(|| holds.then(|| "a password inside a command".to_owned()));
        if let Some(rule) = rule.or_else(|| urls::login(word).map(ToOwned::to_owned)) {
            found.push((index, rule));
        }
    }
    found
}

/// Whether a script of a shell has a password in one of its commands: by a flag, a variable or a header.
#[must_use]
pub fn in_script(text: &str) -> bool {
    script(text, 0)
}

/// Whether a text, read as a shell does, has a password in one of its commands.
fn script(text: &str, depth: usize) -> bool {
    depth < DEEPEST
        && commands(text).iter().any(|words| {
            let mut line = Line::default();
            let mut before = "";
            words.iter().any(|word| {
                let runs = before.starts_with('-') && before.ends_with('c') || before == "eval";
                let output = || word.split_once("$(").map(|(_, inner)| inner);
                let inner = if runs { Some(word.as_str()) } else { output() };
                before = word;
                line.holds(word, true) || inner.is_some_and(|inner| script(inner, depth + 1))
            })
        })
}

/// What was read of a command so far.
#[derive(Default)]
struct Line<'a> {
    program: &'static str,
    before: &'a str,
}

impl<'a> Line<'a> {
    fn sees(&mut self, word: &str) {
        let base = word.rsplit('/').next().unwrap_or(word);
        let plain = base
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || [b'-', b'_', b'.'].contains(&c));
        let mut known = FLAGS.iter().map(|(program, ..)| *program);
        let fits = |known: &&str| base.starts_with(known) && (*known != "login" || base == "login");
        // The servers have other flags.
        let server = base.starts_with("mysqld") && !base.starts_with("mysqldump");
        if let Some(known) = known.find(fits).filter(|_| plain && !server) {
            self.program = known;
        }
    }

    /// Whether this word, which follows those before it, holds a password. `one` is whether a shell has it as one word.
    fn holds(&mut self, word: &'a str, one: bool) -> bool {
        let before = std::mem::replace(&mut self.before, word);
        // `-h mysql` is a host.
        if !before.starts_with('-') || before == "-c" {
            self.sees(word);
        }
        let is_name = |name: &str| {
            name.bytes()
                .all(|c| c.is_ascii_alphanumeric() || [b'-', b'_', b'.'].contains(&c))
        };
        let inline = word.split_once('=').filter(|(name, _)| one && is_name(name));
        let inline = inline.is_some_and(|(name, value)| names::option(name, value));
        let flag = before.starts_with('-') && is_name(before);
        let follows = flag && !word.starts_with('-') && names::option(before, word);
        let header = if ["-H", "--header"].contains(&before) {
            Some(word)
        } else {
            word.strip_prefix("--header=")
        };
        let header = header.and_then(|header| header.split_once(':'));
        let header = header.filter(|(name, _)| is_name(name));
        let header = header.is_some_and(|(name, value)| names::header(name, value).is_some());
        inline || follows || header || self.flag(before, word)
    }

    fn flag(&self, before: &str, word: &str) -> bool {
        FLAGS
            .iter()
            .filter(|(program, ..)| *program == self.program)
            .any(|(_, flag, has)| {
                let joined = word.strip_prefix(flag).filter(|rest| !rest.is_empty());
                let joined = joined.filter(|_| !WORDS.contains(&word));
                let joined = joined.map(|rest| rest.strip_prefix('=').unwrap_or(rest));
                let next = (before == *flag && *has != Has::Joined).then_some(word);
                let login = |text: &str| {
                    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
                    text.split_once(':').is_some_and(|(user, password)| {
                        is_literal(password) && !(digits(user) && digits(password))
                    })
                };
                joined.or(next).is_some_and(|text| {
                    if *has == Has::Login {
                        login(text)
                    } else {
                        is_literal(text) && !text.starts_with('-')
                    }
                })
            })
    }
}

/// The commands of a script with their words, without quotation marks. What runs within a word stays in it.
fn commands(text: &str) -> Vec<Vec<String>> {
    let (mut all, mut line, mut word, mut quote) = (Vec::new(), Vec::new(), None::<String>, None::<char>);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = variable(rest) {
            let variable = rest.get(..rest.len() - after.len()).unwrap_or_default();
            word.get_or_insert_default().push_str(variable);
            rest = after;
            continue;
        }
        rest = rest.strip_prefix(c).unwrap_or_default();
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                if let Some(next) = rest.chars().next() {
                    word.get_or_insert_default().push(next);
                    rest = rest.strip_prefix(next).unwrap_or_default();
                }
            }
            (None, ' ' | '\t') => line.extend(word.take()),
            (None, ';' | '|' | '&' | '\n' | '(' | ')') => {
                line.extend(word.take());
                all.push(std::mem::take(&mut line));
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    line.extend(word.take());
    all.push(line);
    all
}
