//! A Dockerfile as instructions with the numbers of their lines, read as BuildKit reads it, line by line.
//!
//! Own code, since no library does what it needs (`parse-dockerfile`, the best kept one, ends at the first mistake, and takes
//! a here-document behind another word for one): a mistake must hide nothing that follows it, each value of an `ENV` over ten
//! lines has a line of its own, here-documents may stand anywhere in a `RUN`, and comments are kept.

mod lines;
pub(crate) mod words;

use lines::{Joined, Lines, Logical};

/// A Dockerfile that was read.
#[derive(Debug, Default)]
pub struct Dockerfile {
    /// What `# syntax=` asks for.
    pub syntax: Option<String>,
    /// What escapes, and what goes on in the next line.
    pub escape: char,
    /// In order.
    pub instructions: Vec<Instruction>,
    /// What was not understood, each with its line.
    pub problems: Vec<(u32, String)>,
}

/// One instruction.
#[derive(Debug)]
pub struct Instruction {
    /// The line it begins in, from 1.
    pub line: u32,
    /// The line it ends in, with its here-documents.
    pub last: u32,
    /// Whether it only runs in a build on top of this one.
    pub on_build: bool,
    /// Whether a comment above or within it declares that nothing in it is a secret.
    pub public: bool,
    /// What it is.
    pub kind: Kind,
    /// `--name=value`, in order.
    pub flags: Vec<(String, String)>,
    /// Its here-documents.
    pub heredocs: Vec<Text>,
    joined: Joined,
    start: usize,
}

/// What an instruction is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// `FROM image AS name`.
    From {
        /// As written, with variables.
        image: String,
        /// In small letters, as they are compared.
        name: Option<String>,
    },
    /// `ARG name=value …`.
    Arg(Vec<Pair>),
    /// `ENV name=value …` and `ENV name value`.
    Env(Vec<Pair>),
    /// `COPY` and `ADD`.
    Copy {
        /// As written; here-documents are none of them.
        sources: Vec<String>,
        /// The stage or image of `--from=`.
        from: Option<String>,
    },
    /// `RUN`.
    Run(Form),
    /// `ENTRYPOINT`.
    Entrypoint(Form),
    /// `CMD`, and that of `HEALTHCHECK`.
    Command(Form),
    /// `USER`.
    User(String),
    /// Every other one.
    Other,
}

/// How a command is written.
#[derive(Debug, PartialEq, Eq)]
pub enum Form {
    /// `["program", "word"]`.
    Exec(Vec<String>),
    /// A text for a shell: the arguments of the instruction.
    Shell,
}

/// A name with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// As written, with quotation marks and variables; `None` where there is none.
    pub raw: Option<String>,
    /// Without quotation marks and escapes, with variables.
    pub value: Option<String>,
    /// The line it begins in.
    pub line: u32,
}

/// A text that knows its lines.
#[derive(Debug)]
pub struct Text(Joined);

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The number of the line at a place of the text.
    #[must_use]
    pub fn line(&self, at: usize) -> u32 {
        self.0.line(at)
    }
}

impl Instruction {
    /// What follows the keyword and the flags, in one line.
    #[must_use]
    pub fn arguments(&self) -> &str {
        self.joined.text.get(self.start..).unwrap_or_default()
    }

    /// The number of the line at a place of the arguments.
    #[must_use]
    pub fn line_at(&self, at: usize) -> u32 {
        self.joined.line(self.start.saturating_add(at))
    }

    /// The values of a flag that may stand there more than once.
    pub fn flag(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.flags.iter().filter(named).map(|(_, value)| value.as_str())
    }
}

/// Reads a Dockerfile. What is not understood is among its problems, and everything else is read all the same.
#[must_use]
pub fn read(text: &str) -> Dockerfile {
    let (mut lines, directives) = Lines::new(text);
    let mut file = Dockerfile {
        syntax: directives.syntax,
        escape: lines.escape(),
        ..Dockerfile::default()
    };
    while let Some(logical) = lines.logical() {
        let mut reading = Reading {
            escape: file.escape,
            problems: &mut file.problems,
        };
        let mut instruction = reading.instruction(logical);
        if can_hold_heredocs(&instruction) {
            for opening in words::openings(instruction.arguments()) {
                let Some((text, last)) = lines.heredoc(&opening.name, opening.tabs) else {
                    let words = "a here-document that begins here has no end: its last line must be the word after <<";
                    file.problems.push((instruction.line, words.into()));
                    break;
                };
                instruction.heredocs.push(Text(text));
                instruction.last = last;
            }
        }
        file.instructions.push(instruction);
    }
    file
}

/// The list form has none.
fn can_hold_heredocs(instruction: &Instruction) -> bool {
    match &instruction.kind {
        Kind::Run(form) => *form == Form::Shell,
        Kind::Copy { .. } => words::exec(instruction.arguments()).is_none(),
        _ => false,
    }
}

struct Reading<'a> {
    escape: char,
    problems: &'a mut Vec<(u32, String)>,
}

impl Reading<'_> {
    fn instruction(&mut self, logical: Logical) -> Instruction {
        let public = logical.comments.iter().any(|comment| declares_public(comment));
        let (mut keyword, mut start) = keyword(&logical.joined.text, 0);
        let on_build = keyword == "ONBUILD";
        if on_build {
            (keyword, start) = self::keyword(&logical.joined.text, start);
        }
        let mut instruction = Instruction {
            line: logical.first,
            last: logical.last,
            on_build,
            public,
            kind: Kind::Other,
            flags: Vec::new(),
            heredocs: Vec::new(),
            joined: logical.joined,
            start,
        };
        if ["FROM", "COPY", "ADD", "RUN", "HEALTHCHECK"].contains(&keyword.as_str()) {
            let (flags, length) = words::flags(instruction.arguments());
            instruction.flags = flags;
            instruction.start += length;
        }
        instruction.kind = self.kind(&keyword, &mut instruction);
        instruction
    }

    fn kind(&mut self, keyword: &str, instruction: &mut Instruction) -> Kind {
        let form = |text: &str| words::exec(text).map_or(Form::Shell, Form::Exec);
        match keyword {
            "FROM" => self.from(instruction),
            "ARG" => Kind::Arg(self.arguments(instruction)),
            "ENV" => Kind::Env(self.pairs(instruction)),
            "COPY" | "ADD" => Kind::Copy {
                sources: self.sources(instruction.arguments()),
                from: instruction.flag("from").next().map(ToOwned::to_owned),
            },
            "RUN" => Kind::Run(form(instruction.arguments())),
            "ENTRYPOINT" => Kind::Entrypoint(form(instruction.arguments())),
            "CMD" => Kind::Command(form(instruction.arguments())),
            "HEALTHCHECK" => {
                let (word, start) = self::keyword(instruction.arguments(), 0);
                if word != "CMD" {
                    return Kind::Other;
                }
                instruction.start += start;
                Kind::Command(form(instruction.arguments()))
            }
            "USER" => Kind::User(words::unquoted(instruction.arguments().trim(), self.escape)),
            "LABEL" | "EXPOSE" | "MAINTAINER" | "SHELL" | "STOPSIGNAL" | "VOLUME" | "WORKDIR" => Kind::Other,
            _ => {
                let words = "this line begins with no instruction of a Dockerfile";
                self.problems.push((instruction.line, words.into()));
                Kind::Other
            }
        }
    }

    fn from(&mut self, instruction: &Instruction) -> Kind {
        let words: Vec<&str> = instruction.arguments().split_whitespace().collect();
        let (image, name) = match words.as_slice() {
            [image] => (*image, None),
            [image, between, name] if between.eq_ignore_ascii_case("as") => (*image, Some(*name)),
            _ => {
                let problem = "this FROM is not understood: it is FROM image, or FROM image AS name";
                self.problems.push((instruction.line, problem.into()));
                (words.first().copied().unwrap_or_default(), None)
            }
        };
        Kind::From {
            image: image.to_owned(),
            name: name.map(str::to_ascii_lowercase),
        }
    }

    fn arguments(&self, instruction: &Instruction) -> Vec<Pair> {
        let (words, _) = words::split(instruction.arguments(), self.escape);
        let pair = |word: &words::Word<'_>| {
            let (name, raw) = match word.raw.split_once('=') {
                Some((name, raw)) => (name, Some(raw)),
                None => (word.raw, None),
            };
            self.pair(name, raw, instruction.line_at(word.at))
        };
        words.iter().map(pair).collect()
    }

    fn pairs(&mut self, instruction: &Instruction) -> Vec<Pair> {
        let text = instruction.arguments();
        let (words, _) = words::split(text, self.escape);
        let old = words.first().is_some_and(|word| !word.raw.contains('='));
        if old {
            let text = text.trim();
            let (name, raw) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            return vec![self.pair(name, Some(raw.trim()), instruction.line)];
        }
        let mut pairs = Vec::new();
        for word in words {
            let line = instruction.line_at(word.at);
            if let Some((name, raw)) = word.raw.split_once('=') {
                pairs.push(self.pair(name, Some(raw), line));
            } else {
                let problem =
                    "a word of this ENV has no '=': write NAME=value, with quotation marks around spaces";
                self.problems.push((line, problem.into()));
            }
        }
        pairs
    }

    fn pair(&self, name: &str, raw: Option<&str>, line: u32) -> Pair {
        Pair {
            name: words::unquoted(name, self.escape),
            raw: raw.map(ToOwned::to_owned),
            value: raw.map(|raw| words::unquoted(raw, self.escape)),
            line,
        }
    }

    /// The last word is where they go.
    fn sources(&self, text: &str) -> Vec<String> {
        let mut sources = words::exec(text).unwrap_or_else(|| {
            let (words, _) = words::split(text, self.escape);
            let plain = words.iter().map(|word| words::unquoted(word.raw, self.escape));
            plain.collect()
        });
        sources.pop();
        sources.retain(|source| !source.starts_with("<<"));
        sources
    }
}

/// The word in capital letters that a text has from a place on, and where its arguments begin.
fn keyword(text: &str, from: usize) -> (String, usize) {
    let rest = text.get(from..).unwrap_or_default();
    let word = rest.trim_start();
    let before = rest.len() - word.len();
    let length = word.find(char::is_whitespace).unwrap_or(word.len());
    let (word, rest) = word.split_at_checked(length).unwrap_or((word, ""));
    let between = rest.len() - rest.trim_start().len();
    // No instruction is longer, and a megabyte of letters needs no copy.
    let known = word.get(..16).unwrap_or(word);
    (known.to_ascii_uppercase(), from + before + length + between)
}

/// `# slipway: public`, and after it whatever says why.
fn declares_public(comment: &str) -> bool {
    let rest = comment.strip_prefix("slipway:").map(str::trim_start);
    let rest = rest.and_then(|rest| rest.strip_prefix("public"));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_'))
}

#[cfg(test)]
mod tests;
