//! Physical lines of a Dockerfile → logical ones, as BuildKit joins them, with the way back to the numbers.

/// A text of several lines, without what joined them, that knows where each part came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Joined {
    pub text: String,
    /// Where in `text` each line begins, and its number; in order.
    parts: Vec<(usize, u32)>,
}

impl Joined {
    fn push(&mut self, text: &str, line: u32) {
        self.parts.push((self.text.len(), line));
        self.text.push_str(text);
    }

    /// The number of the line that a place of the text came from.
    pub fn line(&self, at: usize) -> u32 {
        let after = self.parts.partition_point(|(start, _)| *start <= at);
        let part = self.parts.get(after.saturating_sub(1));
        part.map_or(1, |(_, line)| *line)
    }
}

/// One instruction as it is written.
#[derive(Debug)]
pub(super) struct Logical {
    pub joined: Joined,
    pub first: u32,
    pub last: u32,
    /// The comments directly above it and within it.
    pub comments: Vec<String>,
}

/// What `# name=value` at the top may set.
#[derive(Debug, Default)]
pub(super) struct Directives {
    pub syntax: Option<String>,
    pub escape: Option<String>,
}

/// The lines of a file, from which logical ones and here-documents are taken.
pub(super) struct Lines<'a> {
    rest: std::str::Split<'a, char>,
    /// Of the line that was taken last.
    number: u32,
    escape: char,
    /// No search for the end of a here-document may begin again after one that reached the end of the file.
    open_ended: bool,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> (Self, Directives) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let directives = directives(text);
        let escape = match directives.escape.as_deref() {
            Some("`") => '`',
            _ => '\\',
        };
        let lines = Lines {
            rest: text.split('\n'),
            number: 0,
            escape,
            open_ended: false,
        };
        (lines, directives)
    }

    pub fn escape(&self) -> char {
        self.escape
    }

    fn take(&mut self) -> Option<&'a str> {
        let line = self.rest.next()?;
        self.number = self.number.saturating_add(1);
        Some(line.trim_end_matches('\r'))
    }

    /// The next instruction; `None` at the end.
    pub fn logical(&mut self) -> Option<Logical> {
        let mut comments = Vec::new();
        loop {
            let line = self.take()?.trim_start();
            if let Some(comment) = line.strip_prefix('#') {
                comments.push(comment.trim().to_owned());
                continue;
            }
            let (line, goes_on) = continued(line, self.escape);
            if line.is_empty() && !goes_on {
                comments.clear();
                continue;
            }
            let (first, mut joined) = (self.number, Joined::default());
            joined.push(line, first);
            let mut goes_on = goes_on;
            while goes_on {
                let Some(line) = self.take() else { break };
                if let Some(comment) = line.trim_start().strip_prefix('#') {
                    comments.push(comment.trim().to_owned());
                } else if !line.trim_start().is_empty() {
                    let (line, more) = continued(line, self.escape);
                    joined.push(line, self.number);
                    goes_on = more;
                }
            }
            if joined.text.trim().is_empty() {
                continue;
            }
            return Some(Logical {
                joined,
                first,
                last: self.number,
                comments,
            });
        }
    }

    /// The lines up to the one that ends a here-document, and the number of the first. Where none does, nothing is taken:
    /// what follows is judged as if it were instructions, so that the mistake hides nothing.
    pub fn heredoc(&mut self, name: &str, tabs: bool) -> Option<(Joined, u32)> {
        if self.open_ended {
            return None;
        }
        let (mut lines, mut number, mut joined) = (self.rest.clone(), self.number, Joined::default());
        for line in lines.by_ref() {
            number = number.saturating_add(1);
            let line = line.trim_end_matches('\r');
            let line = if tabs { line.trim_start_matches('\t') } else { line };
            if line == name {
                (self.rest, self.number) = (lines, number);
                return Some((joined, number));
            }
            joined.push(line, number);
            joined.text.push('\n');
        }
        self.open_ended = true;
        None
    }
}

/// The line without what continues it, and whether it is continued. Two escapes in a row are an escape.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let bare = line.trim_end_matches([' ', '\t']);
    match bare.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

/// They stand at the top, before everything else, and each one only once.
fn directives(text: &str) -> Directives {
    let mut found = Directives::default();
    for line in text.lines() {
        let setting = line.trim_start().strip_prefix('#');
        let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) else {
            break;
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let place = match name.as_str() {
            "syntax" => &mut found.syntax,
            "escape" => &mut found.escape,
            "check" => continue,
            _ => break,
        };
        if place.is_some() || value.is_empty() {
            break;
        }
        *place = Some(value.to_owned());
    }
    found
}
