//! What is plainly something else than the YAML of a spec: told by its name, where a parser would tell what it stumbled over.

/// What an author reads of a template.
pub(super) const TEMPLATE: &str = "templates are not read: a spec is plain data";

/// A line and a column of a text, from 1, and what is there.
pub(super) type Slip = (usize, usize, String);

/// The first mark that git leaves in a file whose merge is not finished: nothing of YAML begins so at the margin.
pub(super) fn unmerged(text: &str) -> Option<Slip> {
    let mark = |line: &str| {
        let rest = ["<<<<<<<", "|||||||", ">>>>>>>"]
            .iter()
            .find_map(|mark| line.strip_prefix(mark));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) || line == "======="
    };
    let (at, _) = text.lines().enumerate().find(|(_, line)| mark(line))?;
    Some((at + 1, 1, "an unfinished merge of git: resolve it".to_owned()))
}

/// What is at or about a line that is no YAML, where it can be named.
pub(super) fn behind(text: &str, line: usize) -> Option<Slip> {
    // A parser often stops in the line after.
    let near = |(at, _): &(usize, &str)| (at + 1).abs_diff(line) <= 1;
    text.lines().enumerate().filter(near).find_map(|(at, text)| {
        let (column, message) = in_line(text)?;
        Some((at + 1, column, message))
    })
}

fn in_line(line: &str) -> Option<(usize, String)> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let blank = line.chars().take_while(|c| c.is_whitespace());
    let odd = blank
        .enumerate()
        .find_map(|(at, c)| Some((at + 1, indentation(c)?)));
    odd.filter(|_| !line.trim().is_empty())
        .or_else(|| Some((template(line)?, TEMPLATE.to_owned())))
}

/// What to say of a blank that indents nothing.
pub(super) fn indentation(c: char) -> Option<String> {
    match c {
        ' ' => None,
        '\t' => Some("a tab: indent with spaces".to_owned()),
        '\u{a0}' => Some("no-break space (U+00A0) in the indentation: use spaces".to_owned()),
        c if c.is_whitespace() => Some(format!(
            "the blank U+{:04X} in the indentation: use spaces",
            u32::from(c)
        )),
        _ => None,
    }
}

/// The column of `{{` where a value could begin: inside of a text it is a part of that.
fn template(line: &str) -> Option<usize> {
    let (at, _) = line.match_indices("{{").find(|(at, _)| {
        let before = line.get(..*at).unwrap_or_default().trim_end();
        before.is_empty() || before.ends_with([':', '-', ',', '[', '{', '}'])
    })?;
    Some(1 + line.get(..at)?.chars().count())
}

/// What to say of a number that is written as few read it: `0777`, `1_000`, `0x10`, `0o17`.
pub(super) fn odd_number(text: &str) -> Option<String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let plain = rest.replace('_', "");
    let of_base = |prefix: &str, base: u32| {
        let digits = plain.strip_prefix(prefix)?;
        u64::from_str_radix(digits, base)
            .ok()
            .map(|number| number.to_string())
    };
    let (what, number) = if let Some(number) = of_base("0x", 16).or_else(|| of_base("0o", 8)) {
        ("only decimal digits are read", number)
    } else if !plain.bytes().all(|c| c.is_ascii_digit()) || plain.is_empty() {
        return None;
    } else if plain.len() > 1 && plain.starts_with('0') {
        (
            "a leading zero is not read",
            plain.trim_start_matches('0').to_owned(),
        )
    } else if plain.len() < rest.len() {
        ("`_` is not read in a number", plain)
    } else {
        return None;
    };
    let number = if number.is_empty() { "0" } else { &number };
    Some(format!("{what}: write {sign}{number}"))
}

#[cfg(test)]
mod tests {
    use super::super::file::File;

    const HEAD: &str =
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: a, namespace: shop}\nspec:\n";

    fn told(text: &str) -> Vec<String> {
        let file = File::read("a.yaml", text.as_bytes());
        file.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_plainly_no_spec_is_told_by_its_name() {
        for (spec, said) in [
            (
                "<<<<<<< HEAD\n  replicas: 1\n=======\n  replicas: 2\n>>>>>>> other\n",
                "a.yaml:5:1: an unfinished merge of git: resolve it",
            ),
            (
                "  {{- if .Values.x }}\n  replicas: 1\n",
                "a.yaml:5:3: templates are not read: a spec is plain data",
            ),
            (
                "  version: {{ version }}\n",
                "a.yaml:5:13: templates are not read: a spec is plain data",
            ),
            (
                "  version: {{ .Values.version | quote }}\n",
                "a.yaml:5:13: templates are not read: a spec is plain data",
            ),
            (
                "  rollout:\n\tdeadline: 10m\n",
                "a.yaml:6:1: a tab: indent with spaces",
            ),
            (
                "  rollout:\n  \tdeadline: 10m\n",
                "a.yaml:6:3: a tab: indent with spaces",
            ),
            (
                "\u{a0}\u{a0}replicas: 1\n",
                "a.yaml:5:1: no-break space (U+00A0) in the indentation: use spaces",
            ),
            (
                "  port: 80\n  \u{a0}replicas: 1\n",
                "a.yaml:6:3: no-break space (U+00A0) in the indentation: use spaces",
            ),
            (
                "  \u{3000}replicas: 1\n",
                "a.yaml:5:3: the blank U+3000 in the indentation: use spaces",
            ),
        ] {
            let told = told(&format!("{HEAD}{spec}"));
            assert_eq!(told.first().map(String::as_str), Some(said), "{spec} {told:?}");
        }
    }

    #[test]
    fn what_stands_inside_of_a_text_is_a_part_of_it() {
        for spec in [
            "  args: [\"{{ x }}\", \"<<<<<<< HEAD\"]\n",
            "  args:\n    - |\n      {{- if }}\n      =======\n      \tx\n      \u{a0}y\n",
            "  # {{ x }}\n  env: {A: x={{y}}}\n",
        ] {
            let told = told(&format!("{HEAD}{spec}"));
            assert!(
                !told.iter().any(|said| said.contains("template")),
                "{spec} {told:?}"
            );
            assert!(told.is_empty() || spec.contains("x={{y"), "{spec} {told:?}");
        }
        let broken = told(&format!("{HEAD}  args: [\"{{{{ x }}}}\"\n  image: a\n"));
        assert!(broken[0].contains("not readable as YAML"), "{broken:?}");
    }
}
