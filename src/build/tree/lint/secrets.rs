//! Secrets in a Dockerfile: an image keeps them in its layers or its history, and git in its own.

use std::collections::{BTreeMap, BTreeSet};

use super::script;
use crate::{
    build::tree::{
        Source,
        dockerfile::{Dockerfile, Form, Instruction, Kind, Pair},
        finding::{Findings, Weight, shown},
    },
    spec::firewall::{in_line, login, named, token},
};

/// What would be a secret under a name that says so.
const SAMPLE: &str = "a1B2c3D4e5F6";

/// Looks at every line, also of stages that are not built: git has them all.
pub(in crate::build::tree) fn run(input: &Source<'_>, file: &Dockerfile, findings: &mut Findings) {
    let mut scan = Scan {
        path: input.path,
        findings,
        forms: forms(input.dockerfile, file),
        asked: BTreeSet::new(),
    };
    for instruction in file.instructions.iter().filter(|one| !one.public) {
        scan.names(instruction);
    }
    for (line, form) in std::mem::take(&mut scan.forms) {
        scan.say(form.rule, line, &form.what, form.stand_in, "");
    }
}

/// What a line holds.
struct Formed {
    rule: &'static str,
    what: String,
    stand_in: bool,
}

/// What is a secret by its form alone, wherever it stands: also in remarks and in what was not understood.
fn forms(text: &str, file: &Dockerfile) -> BTreeMap<u32, Formed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut instructions = file.instructions.iter().peekable();
    let mut found = BTreeMap::new();
    for (line, number) in text.split('\n').zip(1_u32..) {
        while instructions.next_if(|one| one.last < number).is_some() {}
        let within = instructions.peek().filter(|one| one.line <= number);
        let remark = line.trim_start().starts_with('#');
        let Some(first) = in_line(line, false).into_iter().next() else {
            continue;
        };
        let firm = in_line(line, true).into_iter().next();
        if within.is_some_and(|one| one.public) || remark && firm.is_none() {
            continue;
        }
        let rule = match within.map(|one| &one.kind) {
            _ if remark => "secret-in-remark",
            Some(Kind::Env(_)) => "secret-in-env",
            Some(Kind::Arg(_)) => "secret-in-arg",
            Some(Kind::Run(_)) => "secret-in-run",
            Some(Kind::Entrypoint(_) | Kind::Command(_)) => "secret-in-command",
            _ => "secret-in-line",
        };
        let stand_in = firm.is_none();
        let what = firm.unwrap_or(first).what;
        found.insert(number, Formed { rule, what, stand_in });
    }
    found
}

struct Scan<'a> {
    path: &'a str,
    findings: &'a mut Findings,
    /// By line, what was found by its form and not yet said.
    forms: BTreeMap<u32, Formed>,
    /// Arguments that were spoken of.
    asked: BTreeSet<String>,
}

impl Scan<'_> {
    /// What its name says that it is one.
    fn names(&mut self, instruction: &Instruction) {
        match &instruction.kind {
            Kind::Env(pairs) => {
                for pair in pairs {
                    self.pair("secret-in-env", pair);
                }
            }
            Kind::Arg(pairs) => {
                for pair in pairs {
                    if !self.pair("secret-in-arg", pair) {
                        self.without_value(pair);
                    }
                }
            }
            Kind::Run(form) => self.command("secret-in-run", instruction, form),
            Kind::Entrypoint(form) | Kind::Command(form) => {
                self.command("secret-in-command", instruction, form);
            }
            _ => {}
        }
        let rule = match &instruction.kind {
            Kind::Run(_) => "secret-in-run",
            _ => "secret-in-line",
        };
        for text in &instruction.heredocs {
            self.script(rule, text.as_str(), &|at| text.line(at));
        }
    }

    fn pair(&mut self, rule: &'static str, pair: &Pair) -> bool {
        let Some(value) = pair.value.as_deref() else {
            return false;
        };
        let by_form = token(value).or_else(|| login(value).map(ToOwned::to_owned));
        let by_name =
            || named(&pair.name, value).map(|word| format!("a literal under a name that contains {word}"));
        let Some(what) = by_form.or_else(by_name) else {
            return false;
        };
        let what = format!("{what}, {} characters", value.chars().count());
        // Said here, with its name.
        self.forms.remove(&pair.line);
        self.say(rule, pair.line, &what, script::is_stand_in(value), &pair.name);
        true
    }

    /// `ARG NPM_TOKEN`: whatever is given for it stays.
    fn without_value(&mut self, pair: &Pair) {
        let literal = pair.value.as_deref().unwrap_or_default();
        if !literal.is_empty() && !literal.contains('$') || named(&pair.name, SAMPLE).is_none() {
            return;
        }
        if self.asked.insert(pair.name.clone()) {
            let words = format!(
                "{} is named like a secret, and the history of an image keeps what is given for an ARG: give it by \
                 build.secrets, and read it where it is needed with RUN --mount=type=secret",
                shown(&pair.name)
            );
            self.findings
                .warn("secret-arg", (self.path, Some(pair.line)), words);
        }
    }

    fn command(&mut self, rule: &'static str, instruction: &Instruction, form: &Form) {
        match form {
            Form::Shell => {
                self.script(rule, instruction.arguments(), &|at| instruction.line_at(at));
            }
            Form::Exec(words) => {
                self.script(rule, &words.join(" "), &|_| instruction.line);
            }
        }
    }

    fn script(&mut self, rule: &'static str, text: &str, line: &dyn Fn(usize) -> u32) {
        for held in script::scan(text) {
            let command = text.get(held.from..held.to).unwrap_or_default();
            let start = command.len() - command.trim_start().len();
            let (first, last) = (line(held.from + start), line(held.to.saturating_sub(1)));
            let mut formed = self.forms.range(first..=last.max(first));
            // What only stands in for a secret hides none beside it.
            if !formed.any(|(_, form)| held.stand_in || !form.stand_in) {
                self.say(rule, first, &held.rule, held.stand_in, "");
            }
        }
    }

    fn say(&mut self, rule: &'static str, line: u32, what: &str, stand_in: bool, name: &str) {
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("{} ", shown(name))
        };
        let instead = instead(rule);
        let (weight, words) = if stand_in {
            let words = format!(
                "{name}looks like what stands in for a secret ({what}): leave it if it is none, and if it is one, {instead}"
            );
            (Weight::Warned, words)
        } else {
            let public = if rule == "secret-in-remark" {
                ""
            } else {
                ". If it is none, write `# slipway: public` on the line above the instruction"
            };
            let words = format!(
                "{name}looks like a secret ({what}): {instead}; git keeps history, so change it where it is used, too{public}"
            );
            (Weight::Refused, words)
        };
        self.findings.add(weight, rule, (self.path, Some(line)), words);
    }
}

fn instead(rule: &str) -> &'static str {
    match rule {
        "secret-in-env" => {
            "remove it, since the image keeps it, and give it to the program when it runs, by env: {NAME: {secret: name/key}}"
        }
        "secret-in-command" => {
            "remove it, since the image keeps it, and let the program read it from a variable, env: {NAME: {secret: name/key}}"
        }
        "secret-in-remark" => "remove it",
        _ => {
            "remove it, since the image keeps it, and give it by build.secrets to the RUN that needs it, with --mount=type=secret"
        }
    }
}
