//! Passwords in scripts of a shell, as a `RUN` and its here-documents have them.

use crate::{
    build::tree::dockerfile::words,
    spec::firewall::{has_url_password, in_line, in_script, login, token},
};

/// Programs whose words are patterns or switches: `sed s/PASSWORD=.*/…/`, `adduser --disabled-password app`.
#[rustfmt::skip]
const QUIET: [&str; 12] = [
    "sed", "gsed", "grep", "egrep", "fgrep", "awk", "gawk", "perl", "adduser", "addgroup", "test", "[",
];
/// Words of a shell before a program.
#[rustfmt::skip]
const BEFORE: [&str; 14] = [
    "if", "then", "elif", "else", "while", "until", "do", "!", "{", "(", "exec", "sudo", "time", "env",
];
/// Words of what stands in for a secret that a build does not need.
#[rustfmt::skip]
const STAND_INS: [&str; 18] = [
    "dummy", "placeholder", "changeme", "fake", "unused", "ignored", "ignore", "buildtime", "build", "notneeded", "nothing",
    "mock", "stub", "none", "notasecret", "example", "temporary", "precompile",
];

/// A secret in a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Where the command that has it begins and ends in the text.
    pub from: usize,
    pub to: usize,
    /// What it is; never the value.
    pub rule: String,
    /// Whether it is written as one that is none.
    pub stand_in: bool,
}

/// Everything that the commands of a script hold.
pub(super) fn scan(text: &str) -> Vec<Held> {
    let mut held = Vec::new();
    for (from, command) in commands(text) {
        let looked_at = if is_quiet(command) {
            assignments(command)
        } else {
            command
        };
        let Some(rule) = rule(looked_at) else { continue };
        let stand_in = rule_without_stand_ins(looked_at, &rule).is_none();
        held.push(Held {
            from,
            to: from + command.len(),
            rule,
            stand_in,
        });
    }
    held
}

fn rule(command: &str) -> Option<String> {
    let by_form = token(command).or_else(|| login(command).map(ToOwned::to_owned));
    by_form.or_else(|| in_script(command).then(|| "a password inside a command".to_owned()))
}

fn rule_without_stand_ins(command: &str, before: &str) -> Option<String> {
    let (words, _) = words::split(command, '\\');
    let plain: Vec<String> = words
        .iter()
        .map(|word| match word.raw.split_once('=') {
            Some((name, value)) if is_stand_in(value) => format!("{name}="),
            _ => word.raw.to_owned(),
        })
        .collect();
    let after = rule(&plain.join(" "))?;
    // A URL may stand anywhere in a command.
    let url = after == before && has_url_password(command) && in_line(command, true).is_empty();
    (!url).then_some(after)
}

/// Whether a value says of itself that it is none: `dummy`, `not-a-secret`, `postgres://user:password@localhost/db`.
pub(super) fn is_stand_in(value: &str) -> bool {
    if has_url_password(value) {
        return in_line(value, true).is_empty();
    }
    if value.len() > 64 {
        return false;
    }
    let value = value.to_ascii_lowercase();
    let words = value.split(|c: char| !c.is_ascii_alphanumeric());
    words.into_iter().any(|word| STAND_INS.contains(&word))
}

/// `NAME=value` before the program.
fn assignments(command: &str) -> &str {
    let (words, _) = words::split(command, '\\');
    let program = words.iter().find(|word| !is_before_program(word.raw));
    program.and_then(|word| command.get(..word.at)).unwrap_or(command)
}

fn is_quiet(command: &str) -> bool {
    let (words, _) = words::split(command, '\\');
    let program = words.iter().find(|word| !is_before_program(word.raw));
    let program = program.map(|word| word.raw.rsplit('/').next().unwrap_or(word.raw));
    program.is_some_and(|program| QUIET.contains(&program))
}

fn is_before_program(word: &str) -> bool {
    let name = |name: &str| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    BEFORE.contains(&word) || word.split_once('=').is_some_and(|(start, _)| name(start))
}

/// The commands of a script, each with its place. What runs within a word belongs to it, and remarks are none.
pub(super) fn commands(text: &str) -> Vec<(usize, &str)> {
    let (mut all, mut start, mut quote, mut backtick) = (Vec::new(), 0, None::<char>, false);
    // The quotation mark around each parenthesis that a `$(` opened.
    let mut around: Vec<Option<char>> = Vec::new();
    let mut before = '\n';
    let mut chars = text.char_indices();
    let mut push = |from: usize, to: usize| {
        let command = text.get(from..to).unwrap_or_default();
        if !command.trim().is_empty() {
            all.push((from, command));
        }
    };
    while let Some((at, c)) = chars.next() {
        let last = std::mem::replace(&mut before, c);
        match (quote, c) {
            (_, '\\') if quote != Some('\'') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '(') if last == '$' => around.push(quote.take()),
            (None, '"' | '\'') => quote = Some(c),
            (None, '`') => backtick = !backtick,
            (None, '(') if !around.is_empty() => around.push(None),
            (None, ')') if !around.is_empty() => quote = around.pop().flatten(),
            (None, ';' | '|' | '&' | '\n' | '(' | ')') if around.is_empty() && !backtick => {
                push(start, at);
                start = at + 1;
            }
            (None, '#') if around.is_empty() && last.is_whitespace() => {
                push(start, at);
                // To the end of the line.
                let end = chars.find(|(_, c)| *c == '\n');
                start = end.map_or(text.len(), |(at, _)| at + 1);
            }
            _ => {}
        }
    }
    push(start, text.len());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str) -> Option<bool> {
        scan(text).first().map(|held| held.stand_in)
    }

    #[test]
    fn passwords_of_commands_are_found_in_each_form() {
        for text in [
            "SECRET_KEY_BASE=Zx81kk20aaPQ mix assets.deploy",
            "a && export API_TOKEN=a1b2c3d4e5 && b",
            "curl -u admin:hunter22 https://x",
            "curl -H 'Authorization: Bearer a1b2c3d4e5f6' https://x",
            "mysql -uroot -phunter22",
            "psql --password hunter22",
            "sh -c 'PGPASSWORD=hunter22 psql'",
            "git clone https://bot:hunter22@git.example.com/x",
            "if true; then DB_PASSWORD=hunter22 ./go; fi",
            "PASSWORD=hunter22 sed -i s/a/b/ x",
            "echo \"password=hunter22\" > /etc/app.conf",
            "X=$(a; b) ; TOKEN=abc123def456 run",
        ] {
            assert_eq!(held(text), Some(false), "{text}");
        }
    }

    #[test]
    fn what_is_given_later_or_is_a_pattern_is_no_secret() {
        for text in [
            "TOKEN=$(cat /run/secrets/token) npm ci",
            "export API_TOKEN=\"$(cat /run/secrets/a; echo)\" && make",
            "export API_TOKEN=\"$(cat \"/run/secrets/a;b\")\" && make",
            "NPM_TOKEN=`cat /run/secrets/npm` npm ci",
            "curl -u \"$USER:$PASS\" https://x",
            "git clone https://x-access-token:${TOKEN}@github.com/a/b",
            "adduser --disabled-password app",
            "adduser --disabled-password --gecos '' app && chown app /app",
            "sed -i 's/DB_PASSWORD=.*/DB_PASSWORD=/' .env",
            "grep -q 'password = secretish1' x",
            "SECRET_KEY_BASE_DUMMY=1 ./bin/rails assets:precompile",
            "apt-get install -y --no-install-recommends passwd",
            "npm config set //npm.example.com/:_authToken=${NPM_TOKEN}",
            "mkdir -p /var/lib/mysql && apt-get install mysql-client",
            "# PASSWORD=hunter22\nmake",
            "[ -n \"$TOKEN\" ] && make",
            "",
        ] {
            assert_eq!(held(text), None, "{text}");
        }
    }

    #[test]
    fn what_says_that_it_is_no_secret_is_a_stand_in() {
        for text in [
            "SECRET_KEY_BASE=dummy-for-the-build mix assets.deploy",
            "DATABASE_URL=ecto://user:password@localhost/db mix compile",
            "SECRET_KEY=not-needed-at-build-time python manage.py collectstatic",
        ] {
            assert_eq!(held(text), Some(true), "{text}");
        }
        assert_eq!(held("SECRET_KEY_BASE=dummy PASSWORD=hunter22 make"), Some(false));
    }

    #[test]
    fn a_command_knows_its_place() {
        let text = "a\nb && TOKEN=abc123def456 c\nd";
        let held = scan(text).pop().unwrap();
        assert_eq!(text.get(held.from..held.to).unwrap(), " TOKEN=abc123def456 c");
    }
}
