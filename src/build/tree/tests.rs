use std::{collections::BTreeMap, time::Instant};

use proptest::prelude::*;

use super::*;

/// A source tree that is on its way.
#[derive(Default)]
struct Tree {
    dockerfile: String,
    names: Vec<String>,
    texts: BTreeMap<String, String>,
    args: BTreeMap<String, String>,
    target: Option<String>,
    secrets: Vec<String>,
    platforms: Vec<String>,
    submodules: Vec<String>,
    pointers: Vec<String>,
    files: Vec<String>,
    unlocked: Option<Agree>,
}

impl Tree {
    fn of(dockerfile: &str) -> Self {
        Self {
            dockerfile: dockerfile.to_owned(),
            ..Self::default()
        }
    }

    fn file(mut self, name: &str, text: &str) -> Self {
        self.names.push(name.to_owned());
        self.texts.insert(name.to_owned(), text.to_owned());
        self
    }

    fn with(mut self, names: &[&str]) -> Self {
        self.names.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    fn arg(mut self, name: &str, value: &str) -> Self {
        self.args.insert(name.to_owned(), value.to_owned());
        self
    }

    fn secret(mut self, id: &str) -> Self {
        self.secrets.push(id.to_owned());
        self
    }

    fn target(mut self, name: &str) -> Self {
        self.target = Some(name.to_owned());
        self
    }

    /// A file below the build context.
    fn below(mut self, path: &str, text: &str) -> Self {
        self.files.push(path.to_owned());
        self.texts.insert(path.to_owned(), text.to_owned());
        self
    }

    fn judged(&self) -> Judgement {
        let mut below = below(&self.files, &self.dockerfile);
        for project in &mut below {
            for name in &project.names {
                let text = &self.texts[&format!("{}/{name}", project.directory)];
                project.texts.insert(name.clone(), text.clone());
            }
        }
        judge(&Source {
            below: &below,
            tools: self.texts.get(TOOLS).map(|text| (TOOLS, text.as_str())),
            unlocked: self.unlocked.unwrap_or(Agree::Enforce),
            path: "Dockerfile",
            dockerfile: &self.dockerfile,
            context: "",
            names: &self.names,
            texts: &self.texts,
            args: &self.args,
            target: self.target.as_deref(),
            secrets: &self.secrets,
            platforms: &self.platforms,
            node: "amd64",
            submodules: &self.submodules,
            pointers: &self.pointers,
        })
    }

    /// Weight, rule and line of each finding of these rules.
    fn found(&self, rules: &[&str]) -> Vec<(Weight, &'static str, u32)> {
        let findings = self.judged().findings.into_iter();
        findings
            .filter(|finding| rules.contains(&finding.rule))
            .map(|finding| (finding.weight, finding.rule, finding.line.unwrap_or(0)))
            .collect()
    }

    fn words(&self, rule: &str) -> String {
        let found = self
            .judged()
            .findings
            .into_iter()
            .find(|finding| finding.rule == rule);
        found.map(|finding| finding.words).unwrap_or_default()
    }
}

/// The two lines that most tests need around theirs, which is the third.
fn last_stage(line: &str) -> Tree {
    Tree::of(&format!("FROM debian:bookworm@sha256:00\nUSER 1000\n{line}\n"))
}

const SECRETS: [&str; 7] = [
    "secret-in-env",
    "secret-in-arg",
    "secret-in-run",
    "secret-in-command",
    "secret-in-line",
    "secret-in-remark",
    "secret-arg",
];

const PHOENIX: &str = r#"# Find eligible builder and runner images on Docker Hub.
# https://hub.docker.com/r/hexpm/elixir/tags?page=1&name=ubuntu
ARG ELIXIR_VERSION=1.17.2
ARG OTP_VERSION=27.0
ARG DEBIAN_VERSION=bookworm-20240701-slim

ARG BUILDER_IMAGE="hexpm/elixir:${ELIXIR_VERSION}-erlang-${OTP_VERSION}-debian-${DEBIAN_VERSION}"
ARG RUNNER_IMAGE="debian:${DEBIAN_VERSION}"

FROM ${BUILDER_IMAGE} as builder

# install build dependencies
RUN apt-get update -y && apt-get install -y build-essential git \
    && apt-get clean && rm -f /var/lib/apt/lists/*_*

# prepare build dir
WORKDIR /app

# install hex + rebar
RUN mix local.hex --force && \
    mix local.rebar --force

# set build ENV
ENV MIX_ENV="prod"

# install mix dependencies
COPY mix.exs mix.lock ./
RUN mix deps.get --only $MIX_ENV
RUN mkdir config

# copy compile-time config files before we compile dependencies
COPY config/config.exs config/${MIX_ENV}.exs config/
RUN mix deps.compile

COPY priv priv
COPY lib lib
COPY assets assets

# compile assets
RUN mix assets.deploy

# Compile the release
RUN mix compile

# Changes to config/runtime.exs don't require recompiling the code
COPY config/runtime.exs config/

COPY rel rel
RUN mix release

# start a new build stage so that the final image will only contain
# the compiled release and other runtime necessities
FROM ${RUNNER_IMAGE}

RUN apt-get update -y && \
  apt-get install -y libstdc++6 openssl libncurses5 locales ca-certificates \
  && apt-get clean && rm -f /var/lib/apt/lists/*_*

# Set the locale
RUN sed -i '/en_US.UTF-8/s/^# //g' /etc/locale.gen && locale-gen

ENV LANG en_US.UTF-8
ENV LANGUAGE en_US:en
ENV LC_ALL en_US.UTF-8

WORKDIR "/app"
RUN chown nobody /app

# set runner ENV
ENV MIX_ENV="prod"

# Only copy the final release from the build stage
COPY --from=builder --chown=nobody:root /app/_build/${MIX_ENV}/rel/shop ./

USER nobody

CMD ["/app/bin/server"]
"#;

const NEXT: &str = r#"# syntax=docker.io/docker/dockerfile:1

FROM node:18-alpine AS base

# Install dependencies only when needed
FROM base AS deps
RUN apk add --no-cache libc6-compat
WORKDIR /app

# Install dependencies based on the preferred package manager
COPY package.json yarn.lock* package-lock.json* pnpm-lock.yaml* .npmrc* ./
RUN \
  if [ -f yarn.lock ]; then yarn --frozen-lockfile; \
  elif [ -f package-lock.json ]; then npm ci; \
  elif [ -f pnpm-lock.yaml ]; then corepack enable pnpm && pnpm i --frozen-lockfile; \
  else echo "Lockfile not found." && exit 1; \
  fi


# Rebuild the source code only when needed
FROM base AS builder
WORKDIR /app
COPY --from=deps /app/node_modules ./node_modules
COPY . .

# ENV NEXT_TELEMETRY_DISABLED=1

RUN \
  if [ -f yarn.lock ]; then yarn run build; \
  elif [ -f package-lock.json ]; then npm run build; \
  else echo "Lockfile not found." && exit 1; \
  fi

# Production image, copy all the files and run next
FROM base AS runner
WORKDIR /app

ENV NODE_ENV=production

RUN addgroup --system --gid 1001 nodejs
RUN adduser --system --uid 1001 nextjs

COPY --from=builder /app/public ./public

# https://nextjs.org/docs/advanced-features/output-file-tracing
COPY --from=builder --chown=nextjs:nodejs /app/.next/standalone ./
COPY --from=builder --chown=nextjs:nodejs /app/.next/static ./.next/static

USER nextjs

EXPOSE 3000

ENV PORT=3000
ENV HOSTNAME="0.0.0.0"
CMD ["node", "server.js"]
"#;

fn phoenix() -> Tree {
    Tree::of(PHOENIX)
        .file("mix.exs", "defp deps do [{:phoenix, \"~> 1.7\"}] end")
        .with(&["mix.lock", ".dockerignore", "lib"])
}

fn next() -> Tree {
    Tree::of(NEXT)
        .file("package.json", r#"{"dependencies": {"next": "16.0.0"}}"#)
        .with(&["package-lock.json", "public"])
}

fn shop() -> Tree {
    Tree::of(include_str!("../../../examples/shop/Dockerfile"))
        .file("mix.exs", include_str!("../../../examples/shop/mix.exs"))
        .with(&[".dockerignore", "lib"])
}

fn rules(judgement: &Judgement) -> Vec<&'static str> {
    judgement.findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn what_phoenix_generates_is_built_and_only_its_digests_are_spoken_of() {
    let judged = phoenix().judged();
    assert_eq!(
        rules(&judged),
        ["no-digest", "no-digest"],
        "{:#?}",
        judged.findings
    );
    assert_eq!(judged.lock_files, ["mix.lock"]);
    let bases: Vec<_> = judged
        .base_images
        .iter()
        .map(|base| (base.reference.as_str(), base.stage.as_str(), base.line))
        .collect();
    assert_eq!(
        bases,
        [
            (
                "hexpm/elixir:1.17.2-erlang-27.0-debian-bookworm-20240701-slim",
                "builder",
                10
            ),
            ("debian:bookworm-20240701-slim", "1", 53)
        ]
    );
}

#[test]
fn the_docker_example_of_next_is_built() {
    let judged = next().judged();
    assert_eq!(rules(&judged), ["no-digest"], "{:#?}", judged.findings);
    assert_eq!(judged.lock_files, ["package-lock.json"]);
    assert_eq!(judged.base_images.len(), 1);
}

#[test]
fn the_shop_of_the_examples_is_built_with_its_images_and_told_without_them() {
    let judged = shop().judged();
    assert_eq!(rules(&judged), ["no-base", "no-base"], "{:#?}", judged.findings);
    assert!(!judged.is_refused());
    let given = shop()
        .arg("BUILDER_IMAGE", "registry.test/elixir:1.14-bookworm@sha256:00")
        .arg("RUNNER_IMAGE", "registry.test/runner:bookworm@sha256:00")
        .arg("VERSION", "1.0.0");
    assert_eq!(given.judged().findings, []);
}

#[test]
fn a_secret_in_the_dockerfile_is_refused_with_its_line_and_never_repeated() {
    let token = format!("ghp_{}", "a1B2c3D4e5".repeat(4));
    for (line, rule) in [
        (format!("ENV GITHUB={token}"), "secret-in-env"),
        (format!("ENV A=1 B={token}"), "secret-in-env"),
        (
            "ENV DATABASE_URL=ecto://shop:hunter22@db/shop".into(),
            "secret-in-env",
        ),
        ("ENV SECRET_KEY_BASE Zx81kk20aaPQ".into(), "secret-in-env"),
        ("ENV DB_PASSWORD='hunter22'".into(), "secret-in-env"),
        ("ONBUILD ENV DB_PASSWORD=hunter22".into(), "secret-in-env"),
        ("ARG API_TOKEN=a1b2c3d4e5f6".into(), "secret-in-arg"),
        (format!("RUN curl -H \"X: {token}\" https://x"), "secret-in-run"),
        (
            "RUN git clone https://bot:hunter22@git.example.com/x".into(),
            "secret-in-run",
        ),
        (
            "RUN SECRET_KEY_BASE=Zx81kk20aaPQ mix compile".into(),
            "secret-in-run",
        ),
        (
            "RUN [\"psql\", \"--password\", \"hunter22\"]".into(),
            "secret-in-run",
        ),
        (
            format!("CMD [\"app\", \"--token\", \"{token}\"]"),
            "secret-in-command",
        ),
        (
            "ENTRYPOINT [\"app\", \"--password=hunter22\"]".into(),
            "secret-in-command",
        ),
        (format!("LABEL a={token}"), "secret-in-line"),
        (format!("WHAT is {token}"), "secret-in-line"),
        (format!("# {token}"), "secret-in-remark"),
    ] {
        let tree = last_stage(&line);
        assert_eq!(tree.found(&SECRETS), [(Weight::Refused, rule, 3)], "{line}");
        let said = format!("{:?}", tree.judged());
        for secret in [token.as_str(), "hunter22", "Zx81kk20aaPQ", "a1b2c3d4e5f6"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[test]
fn a_secret_has_the_line_it_stands_in_and_not_that_of_its_instruction() {
    let env = last_stage("ENV A=1 \\\n  # why\n  DB_PASSWORD=hunter22 \\\n  B=2");
    assert_eq!(env.found(&SECRETS), [(Weight::Refused, "secret-in-env", 5)]);
    let run = last_stage("RUN a && \\\n  DB_PASSWORD=hunter22 b && \\\n  c");
    assert_eq!(run.found(&SECRETS), [(Weight::Refused, "secret-in-run", 4)]);
    for (start, rule) in [
        ("RUN <<EOF", "secret-in-run"),
        ("COPY <<'EOF' /x", "secret-in-line"),
    ] {
        let tree = last_stage(&format!(
            "{start}\nset -e\nexport DB_PASSWORD=hunter22\nEOF\nRUN b"
        ));
        assert_eq!(tree.found(&SECRETS), [(Weight::Refused, rule, 5)], "{start}");
    }
    // A token that goes on in the next line has its form there all the same.
    let cut = last_stage(&format!("ENV T=ghp_a1b2c3\\\n{}", "d4e5f6g7".repeat(4)));
    assert_eq!(cut.found(&SECRETS), [(Weight::Refused, "secret-in-env", 3)]);
}

#[test]
fn secrets_are_found_in_stages_that_are_not_built_and_behind_mistakes() {
    let tree = Tree::of("FROM a:1 AS a\nENV DB_PASSWORD=hunter22\nFROM b:1\nUSER 1\n");
    assert_eq!(tree.found(&SECRETS), [(Weight::Refused, "secret-in-env", 2)]);
    let tree = Tree::of("FROM a:1\nRUN <<EOF\nENV DB_PASSWORD=hunter22\n");
    assert_eq!(tree.found(&SECRETS), [(Weight::Refused, "secret-in-env", 3)]);
    let tree = Tree::of("# syntax=example.com/own:1\nENV DB_PASSWORD=hunter22\n");
    assert_eq!(tree.found(&SECRETS), [(Weight::Refused, "secret-in-env", 2)]);
}

#[test]
fn what_only_looks_like_a_secret_passes() {
    for line in [
        "ENV SECRET_KEY_BASE=",
        "ENV SECRET_KEY_BASE=$KEY",
        "ENV TOKEN_TTL=3600 COOKIE_NAME=_shop",
        "ENV DB_PASSWORD_FILE=/run/secrets/db",
        "ENV GPG_KEY=E3FF2839C048B25C084DEBE9B26995E310250568",
        "ARG DEBIAN_VERSION=bookworm",
        "RUN --mount=type=secret,id=npm,env=NPM_TOKEN npm ci",
        "RUN --mount=type=secret,id=npm NPM_TOKEN=$(cat /run/secrets/npm) npm ci",
        "RUN adduser --disabled-password app",
        "RUN git clone https://x:${TOKEN}@github.com/a/b",
        "# postgres://user:password@localhost/db",
        "RUN echo abc | sha256sum -c",
        "HEALTHCHECK CMD curl -fsS http://localhost:4000/healthz",
    ] {
        let tree = last_stage(line).secret("npm");
        assert_eq!(tree.found(&SECRETS), [], "{line}");
    }
}

#[test]
fn what_stands_in_for_a_secret_is_warned_of() {
    for (line, rule) in [
        (
            "RUN SECRET_KEY_BASE=dummy-for-the-build mix assets.deploy",
            "secret-in-run",
        ),
        (
            "ENV DATABASE_URL=ecto://user:password@localhost/db",
            "secret-in-env",
        ),
        ("ENV DB_PASSWORD=changeme", "secret-in-env"),
    ] {
        assert_eq!(
            last_stage(line).found(&SECRETS),
            [(Weight::Warned, rule, 3)],
            "{line}"
        );
    }
}

#[test]
fn what_stands_in_for_a_secret_hides_none_beside_it() {
    let url = "DATABASE_URL=ecto://user:password@localhost/db";
    let run = last_stage(&format!("RUN {url} SECRET_KEY_BASE=Zx81kk20aaPQ mix compile"));
    assert_eq!(run.found(&["secret-in-run"]).first().unwrap().0, Weight::Refused);
    let env = last_stage(&format!("ENV {url} SECRET_KEY_BASE=Zx81kk20aaPQ"));
    assert_eq!(env.found(&["secret-in-env"]).first().unwrap().0, Weight::Refused);
}

#[test]
fn an_author_may_declare_that_something_is_no_secret() {
    let tree = last_stage("# slipway: public, a key of the demo\nENV DB_PASSWORD=hunter22");
    assert_eq!(tree.found(&SECRETS), []);
    let tree = last_stage("# slipway: public\nENV A=b\nENV DB_PASSWORD=hunter22");
    assert_eq!(tree.found(&SECRETS), [(Weight::Refused, "secret-in-env", 5)]);
}

#[test]
fn an_arg_that_is_named_like_a_secret_is_warned_of_once() {
    for line in ["ARG NPM_TOKEN", "ARG NPM_TOKEN=", "ARG NPM_TOKEN=$OTHER"] {
        let tree = last_stage(&format!("{line}\nARG NPM_TOKEN"));
        assert_eq!(
            tree.found(&SECRETS),
            [(Weight::Warned, "secret-arg", 3)],
            "{line}"
        );
    }
    for line in ["ARG TOKEN_TTL", "ARG VERSION", "ARG SECRET_NAME", "ARG KEYBOARD"] {
        assert_eq!(last_stage(line).found(&SECRETS), [], "{line}");
    }
}

#[test]
fn files_of_secrets_are_warned_of_where_they_are_copied_and_exist() {
    let rule = ["secret-file"];
    let env = last_stage("COPY mix.exs .env ./");
    assert_eq!(env.found(&rule), []);
    assert_eq!(
        env.with(&[".env"]).found(&rule),
        [(Weight::Warned, "secret-file", 3)]
    );
    for line in [
        "COPY keys/id_rsa /root/.ssh/",
        "ADD [\"certs/server.pem\", \"/x/\"]",
    ] {
        assert_eq!(
            last_stage(line).found(&rule),
            [(Weight::Warned, "secret-file", 3)],
            "{line}"
        );
    }
    for line in [
        "COPY .env.example ./",
        "COPY --from=debian:12 /etc/ssl/x.pem /x",
        "ADD https://example.com/ca.key /x",
        "COPY lib ./",
        "COPY <<.env /x\nA=1\n.env",
    ] {
        assert_eq!(
            last_stage(line).with(&[".env", ".env.example"]).found(&rule),
            [],
            "{line}"
        );
    }
    // Of one in the root the text says whether it matters.
    let npmrc = |text: &str| last_stage("COPY package.json .npmrc* ./").file(".npmrc", text);
    assert_eq!(npmrc("registry=https://npm.example.com\n").found(&rule), []);
    assert_eq!(
        npmrc("//npm.example.com/:_authToken=a1b2c3d4e5f6\n")
            .found(&rule)
            .len(),
        1
    );
}

#[test]
fn without_an_ignore_file_what_goes_along_is_told() {
    let rule = ["no-dockerignore"];
    let tree = || last_stage("COPY . .").with(&["lib", "node_modules", ".env"]);
    assert_eq!(tree().found(&rule), [(Weight::Told, "no-dockerignore", 3)]);
    assert!(tree().words("no-dockerignore").contains(".env and node_modules"));
    assert_eq!(tree().with(&[".dockerignore"]).found(&rule), []);
    assert_eq!(tree().with(&["Dockerfile.dockerignore"]).found(&rule), []);
    assert_eq!(last_stage("COPY . .").with(&["lib"]).found(&rule), []);
    assert_eq!(last_stage("COPY lib lib").with(&[".env"]).found(&rule), []);
}

#[test]
fn a_project_without_its_lock_file_is_refused() {
    for (file, text, lock) in [
        ("mix.exs", "[{:phoenix, \"~> 1.7\"}]", "mix.lock"),
        (
            "package.json",
            r#"{"dependencies": {"a": "1"}}"#,
            "pnpm-lock.yaml",
        ),
        ("package.json", r#"{"dependencies": {"a": "1"}}"#, "bun.lockb"),
        (
            "package.json",
            r#"{"dependencies": {"a": "1"}}"#,
            "npm-shrinkwrap.json",
        ),
        ("Cargo.toml", "[package]", "Cargo.lock"),
        ("Gemfile", "gem 'rails'", "Gemfile.lock"),
        ("go.mod", "require a v1", "go.sum"),
        ("composer.json", r#"{"require": {"a/b": "1"}}"#, "composer.lock"),
        (
            "pyproject.toml",
            "[project]\ndependencies = [\"flask\"]",
            "uv.lock",
        ),
        (
            "pyproject.toml",
            "[project]\ndependencies = [\"flask\"]",
            "poetry.lock",
        ),
        ("Pipfile", "[packages]\na = \"*\"", "Pipfile.lock"),
        ("requirements.txt", "flask\n", "uv.lock"),
    ] {
        let tree = || last_stage("RUN make").file(file, text);
        let found = tree()
            .judged()
            .findings
            .into_iter()
            .find(|one| one.rule == "no-lock")
            .unwrap();
        assert_eq!((found.weight, found.file.as_str()), (Weight::Refused, file));
        assert!(found.words.contains(lock), "{}", found.words);
        let locked = tree().with(&[lock]);
        assert_eq!(locked.found(&["no-lock"]), [], "{file} {lock}");
        assert_eq!(locked.judged().lock_files, [lock]);
    }
}

#[test]
fn a_missing_lock_file_is_named_with_what_makes_it_as_the_project_installs() {
    let node = |script: &str, text: &str| {
        let tree = last_stage(script).file("package.json", text).with(&["mix.lock"]);
        tree.words("no-lock")
    };
    let needs = r#"{"dependencies": {"a": "1"}}"#;
    for (script, text, start, end) in [
        (
            "RUN npm ci",
            needs,
            "there is no package-lock.json for its dependencies (nor ",
            "run npm install --package-lock-only and commit it, or say build.locks: warn",
        ),
        (
            "RUN corepack enable && pnpm i",
            needs,
            "there is no pnpm-lock.yaml ",
            "run pnpm install --lockfile-only and commit it, or say build.locks: warn",
        ),
        (
            "RUN make",
            r#"{"packageManager": "yarn@4.1.0", "dependencies": {"a": "1"}}"#,
            "there is no yarn.lock ",
            "run yarn install and commit it, or say build.locks: warn",
        ),
    ] {
        let words = node(script, text);
        assert!(words.starts_with(start) && words.ends_with(end), "{words}");
    }
    let mix = last_stage("RUN mix deps.get")
        .file("mix.exs", "[{:phoenix, \"~> 1.7\"}]")
        .with(&["package-lock.json"]);
    assert_eq!(
        mix.words("no-lock"),
        "there is no mix.lock for its dependencies: run mix deps.get and commit it, or say build.locks: warn"
    );
}

#[test]
fn npm_ci_without_a_lock_file_of_its_own_is_warned_of() {
    let tree = |script: &str, lock: &str| {
        let tree = last_stage(script).file("package.json", r#"{"dependencies": {"a": "1"}}"#);
        tree.with(&[lock])
    };
    let rule = ["other-lock"];
    let warned = tree("RUN npm ci", "yarn.lock");
    assert_eq!(warned.found(&rule), [(Weight::Warned, "other-lock", 0)]);
    let words = warned.words("other-lock");
    assert!(
        words.contains("package-lock.json") && words.contains("only yarn.lock"),
        "{words}"
    );
    assert_eq!(tree("RUN npm ci", "npm-shrinkwrap.json").found(&rule), []);
    assert_eq!(tree("RUN yarn || npm ci", "yarn.lock").found(&rule), []);
    assert_eq!(tree("RUN npm install", "yarn.lock").found(&rule), []);
}

#[test]
fn a_project_that_fetches_nothing_needs_no_lock_file() {
    for (file, text) in [
        ("mix.exs", "deps: []"),
        ("package.json", "{\"name\": \"x\"}"),
        ("go.mod", "module x\n"),
        ("Gemfile", "source 'https://rubygems.org'"),
        ("composer.json", r#"{"require": {"php": "^8"}}"#),
        ("pyproject.toml", "[tool.ruff]"),
        ("requirements.txt", "# nothing\n"),
        ("README.md", ""),
    ] {
        assert_eq!(
            last_stage("RUN make").file(file, text).found(&["no-lock"]),
            [],
            "{file}"
        );
    }
    // What could not be read is taken for one that fetches.
    assert_eq!(
        last_stage("RUN make")
            .with(&["mix.exs"])
            .found(&["no-lock"])
            .len(),
        1
    );
}

#[test]
fn whoever_declares_it_builds_without_a_lock_file() {
    let tree = |unlocked| {
        let mut tree = last_stage("RUN mix deps.get").file("mix.exs", "[{:phoenix, \"~> 1.7\"}]");
        tree.unlocked = Some(unlocked);
        tree.found(&["no-lock"])
    };
    assert_eq!(tree(Agree::Enforce), [(Weight::Refused, "no-lock", 0)]);
    assert_eq!(tree(Agree::Warn), [(Weight::Warned, "no-lock", 0)]);
    assert_eq!(tree(Agree::Ignore), [(Weight::Told, "no-lock", 0)]);
}

#[test]
fn a_project_below_the_build_context_that_is_copied_by_name_is_warned_of() {
    let rule = ["no-lock"];
    let mix = "[{:phoenix, \"~> 1.7\"}]";
    let tree =
        |copied: &str| last_stage(&format!("{copied}\nRUN mix deps.get")).below("backend/mix.exs", mix);
    for copied in [
        "COPY backend/mix.exs ./",
        "COPY backend/ .",
        "COPY ./backend /app",
        "COPY backend/* ./",
    ] {
        assert_eq!(
            tree(copied).found(&rule),
            [(Weight::Warned, "no-lock", 0)],
            "{copied}"
        );
        let locked = tree(copied).below("backend/mix.lock", "%{}");
        assert_eq!(locked.found(&rule), [], "{copied}");
        assert_eq!(locked.judged().lock_files, ["backend/mix.lock"], "{copied}");
        assert_eq!(
            tree(copied).with(&["mix.lock"]).found(&rule),
            [],
            "one for all: {copied}"
        );
    }
    let first = tree("COPY backend/ .")
        .judged()
        .findings
        .into_iter()
        .find(|one| one.rule == "no-lock");
    assert_eq!(first.unwrap().file, "backend/mix.exs");
    assert_eq!(tree("COPY frontend/ .").found(&rule), []);
}

#[test]
fn an_umbrella_and_a_workspace_need_the_lock_file_of_all_that_is_in_them() {
    let rule = ["no-lock"];
    let umbrella = last_stage("RUN mix deps.get").file("mix.exs", "[apps_path: \"apps\", deps: []]");
    assert_eq!(umbrella.found(&rule), [(Weight::Refused, "no-lock", 0)]);
    let workspace = last_stage("RUN npm ci").file("package.json", r#"{"workspaces": ["apps/*"]}"#);
    assert_eq!(workspace.found(&rule), [(Weight::Refused, "no-lock", 0)]);
    assert_eq!(workspace.with(&["package-lock.json"]).found(&rule), []);
}

#[test]
fn exact_requirements_are_a_lock_file() {
    let exact = last_stage("RUN pip install -r requirements.txt")
        .file("requirements.txt", "flask==3.0.3\n")
        .file("pyproject.toml", "[project]\ndependencies = [\"flask\"]");
    assert_eq!(exact.found(&["no-lock"]), []);
    assert_eq!(exact.judged().lock_files, ["requirements.txt"]);
    let loose =
        last_stage("RUN pip install -r requirements.txt").file("requirements.txt", "a==1\nflask>=3\n");
    assert_eq!(loose.found(&["no-lock"]), [(Weight::Refused, "no-lock", 2)]);
}

#[test]
fn where_nothing_runs_a_missing_lock_file_is_only_told() {
    let tree = last_stage("COPY dist /srv").file("package.json", r#"{"devDependencies": {"a": "1"}}"#);
    assert_eq!(tree.found(&["no-lock"]), [(Weight::Told, "no-lock", 0)]);
}

#[test]
fn files_of_a_context_have_their_place_in_the_repository() {
    let tree = last_stage("RUN mix deps.get").with(&["mix.exs"]);
    let judged = judge(&Source {
        context: "apps/shop/",
        below: &[],
        tools: None,
        unlocked: Agree::Enforce,
        path: "apps/shop/Dockerfile",
        dockerfile: &tree.dockerfile,
        names: &tree.names,
        texts: &tree.texts,
        args: &tree.args,
        target: None,
        secrets: &[],
        platforms: &[],
        node: "amd64",
        submodules: &[],
        pointers: &[],
    });
    assert_eq!(judged.findings.first().unwrap().file, "apps/shop/mix.exs");
}

#[test]
fn steps_for_another_processor_are_warned_of_and_the_erlang_vm_is_told_where_it_listens() {
    let of = |dockerfile: &str, platforms: &[&str]| {
        let mut tree = Tree::of(dockerfile);
        tree.platforms = platforms.iter().map(|one| (*one).to_owned()).collect();
        let judged = tree.judged();
        let found = judged
            .findings
            .into_iter()
            .find(|finding| finding.rule == "emulated");
        let given = judged
            .extra_args
            .into_iter()
            .map(|extra| (extra.arg, extra.value, extra.line));
        (
            found.map(|finding| (finding.line.unwrap(), finding.words)),
            given.collect::<Vec<_>>(),
        )
    };
    let both = ["linux/amd64", "linux/arm64"];
    let plain = "FROM a:1 AS builder\nARG ERL_AFLAGS\nRUN mix release\nFROM b:1\nCOPY --from=builder /a /a\n";
    let (found, given) = of(plain, &both);
    let (line, words) = found.unwrap();
    assert_eq!(line, 1);
    assert!(
        words.starts_with("the steps of this stage for linux/arm64 are emulated"),
        "{words}"
    );
    let flag = ("ERL_AFLAGS".to_owned(), "+JMsingle true".to_owned(), None);
    assert_eq!(given, [flag]);
    assert_eq!(of(&plain.replace("ARG ERL_AFLAGS\n", ""), &both).1, []);
    // No steps of another processor: on the node's own, without steps, and where the node itself is meant.
    for platforms in [&[][..], &["linux/amd64"]] {
        assert_eq!(of(plain, platforms), (None, Vec::new()), "{platforms:?}");
    }
    assert_eq!(of("FROM a:1\nCOPY a /a\n", &both).0, None);
    let crossed = "FROM --platform=$BUILDPLATFORM a:1 AS base\nFROM base\nRUN go build\n";
    assert_eq!(of(crossed, &both).0, None);
    let fixed = "FROM --platform=linux/s390x a:1\nRUN make\n";
    assert!(of(fixed, &[]).0.unwrap().1.contains("linux/s390x"));
}

#[test]
fn what_a_commit_only_refers_to_is_warned_of_by_the_first_of_its_kind() {
    let mut tree = Tree::of("FROM scratch\n");
    tree.submodules = vec!["vendor/a".to_owned()];
    tree.pointers = ["logo.png", "film.mp4", "font.ttf"].map(str::to_owned).into();
    let findings = tree.judged().findings;
    let of = |rule: &str| findings.iter().find(|finding| finding.rule == rule).unwrap();
    assert_eq!(
        (of("submodule").file.as_str(), of("submodule").weight),
        ("vendor/a", Weight::Warned)
    );
    assert!(of("submodule").words.contains("is a submodule, which"));
    assert_eq!(
        (of("lfs").file.as_str(), of("lfs").weight),
        ("logo.png", Weight::Warned)
    );
    assert!(of("lfs").words.contains("(and 2 others)"), "{}", of("lfs").words);
}

#[test]
fn base_images_are_told_warned_of_or_fine_by_what_they_are_named_by() {
    let rules = ["no-digest", "no-tag", "latest", "no-base"];
    let of = |from: &str| Tree::of(&format!("{from}\nUSER 1\n")).found(&rules);
    assert_eq!(of("FROM debian:12@sha256:00"), []);
    assert_eq!(of("FROM debian@sha256:00"), []);
    assert_eq!(of("FROM scratch"), []);
    assert_eq!(of("FROM debian:12"), [(Weight::Told, "no-digest", 1)]);
    assert_eq!(of("FROM debian:latest"), [(Weight::Warned, "latest", 1)]);
    assert_eq!(of("FROM localhost:5000/debian"), [(Weight::Warned, "no-tag", 1)]);
    assert_eq!(of("ARG A\nFROM $A"), [(Weight::Warned, "no-base", 2)]);
    assert_eq!(of("ARG A=debian\nFROM $A"), [(Weight::Warned, "no-tag", 2)]);
    // Copies are a part of the image, too; stages that are not built are none.
    assert_eq!(
        of("FROM debian:12@sha256:00\nCOPY --from=ghcr.io/astral-sh/uv:latest /uv /bin/"),
        [(Weight::Warned, "latest", 2)]
    );
    assert_eq!(of("FROM debian AS unused\nFROM debian:12@sha256:00"), []);
}

#[test]
fn copies_between_releases_of_distributions_are_warned_of() {
    let rule = ["other-suite"];
    let of = |builder: &str, between: &str, runner: &str| {
        let text = format!(
            "FROM {builder} AS builder\n{between}\nFROM {runner}\nUSER 1\nCOPY --from=builder /a /a\n"
        );
        Tree::of(&text).found(&rule)
    };
    let warned = [(Weight::Warned, "other-suite", 5)];
    assert_eq!(of("rust:1.89-bookworm", "RUN make", "debian:trixie-slim"), warned);
    assert_eq!(
        of(
            "hexpm/elixir:1.17.2-erlang-27.0-debian-bookworm-20240701-slim",
            "",
            "alpine:3.19"
        ),
        warned
    );
    assert_eq!(of("ubuntu:24.04", "", "ubuntu:22.04"), warned);
    assert_eq!(of("rust:1.89-bookworm", "", "debian:12-slim"), []);
    assert_eq!(of("elixir:1.16-alpine", "", "alpine:3.19"), []);
    assert_eq!(
        of(
            "golang:1.22-bookworm",
            "RUN CGO_ENABLED=0 go build",
            "alpine:3.19"
        ),
        []
    );
    assert_eq!(of("node:22-alpine", "RUN npm run build", "debian:bookworm"), []);
    assert_eq!(of("node:22-alpine", "", "node:22-bookworm"), warned);
    assert_eq!(of("golang:1.22", "", "debian:12"), []);
    // Without a word in its tag it is of Debian all the same.
    assert_eq!(of("rust:1.89", "", "alpine:3.20"), warned);
    assert_eq!(of("elixir:1.17", "", "docker.io/library/alpine:3.20"), warned);
    assert_eq!(of("rust:1.89", "", "debian:12"), []);
    assert_eq!(of("node:22", "RUN npm run build", "nginx:1.27-alpine"), []);
}

#[test]
fn a_program_that_is_copied_from_an_image_of_another_distribution_is_warned_of() {
    let of = |copied: &str| {
        let tree = Tree::of(&format!("FROM alpine:3.20\nUSER 1\n{copied}"));
        tree.found(&["other-suite"]).len()
    };
    assert_eq!(of("COPY --from=rust:1.89 /usr/local/cargo/bin/just /bin/"), 1);
    assert_eq!(of("COPY --from=rust:1.89 / /"), 1);
    assert_eq!(
        of("COPY --from=rust:1.89-alpine /usr/local/cargo/bin/just /bin/"),
        0
    );
    assert_eq!(
        of("COPY --from=debian:12 /etc/ssl/certs /etc/ssl/certs"),
        0,
        "text"
    );
    assert_eq!(
        of("COPY --from=debian:12 /usr/share/zoneinfo /usr/share/zoneinfo"),
        0,
        "data"
    );
    assert_eq!(
        of("COPY --from=ghcr.io/acme/tool:1 /tool /bin/"),
        0,
        "nobody knows"
    );
}

#[test]
fn an_image_in_development_is_warned_of() {
    let rule = ["not-production"];
    for line in [
        "ENV MIX_ENV=dev",
        "ENV NODE_ENV development",
        "ARG E=dev\nENV MIX_ENV=$E",
    ] {
        assert_eq!(last_stage(line).found(&rule).len(), 1, "{line}");
    }
    for line in [
        "ENV MIX_ENV=prod NODE_ENV=production",
        "ENV NODE_ENV=test",
        "ENV MIX_ENV=dev\nENV MIX_ENV=prod",
        "ENV MIX_ENV=$UNKNOWN",
        "ARG MIX_ENV=dev",
    ] {
        assert_eq!(last_stage(line).found(&rule), [], "{line}");
    }
    let given = last_stage("ARG E=prod\nENV MIX_ENV=$E").arg("E", "dev");
    assert_eq!(given.found(&rule), [(Weight::Warned, "not-production", 4)]);
    // Only what becomes the image counts.
    let builder = Tree::of("FROM a:1 AS builder\nENV MIX_ENV=dev\nFROM b:1\nUSER 1\nCOPY --from=builder / /");
    assert_eq!(builder.found(&rule), []);
    assert_eq!(builder.target("builder").found(&rule).len(), 1);
}

#[test]
fn a_release_that_is_made_in_another_mode_is_warned_of_in_the_stage_that_makes_it() {
    let made = |env: &str, run: &str| {
        Tree::of(&format!(
            "FROM a:1 AS builder\n{env}\nRUN {run}\nFROM b:1\nUSER 1\nCOPY --from=builder /a /a"
        ))
        .found(&["not-production"])
    };
    assert_eq!(
        made("ENV MIX_ENV=dev", "mix release"),
        [(Weight::Warned, "not-production", 3)]
    );
    for (env, run) in [
        ("ENV MIX_ENV=prod", "mix release"),
        ("ENV MIX_ENV=dev", "MIX_ENV=prod mix release"),
        ("ENV MIX_ENV=test", "mix test"),
        ("ENV OTHER=1", "mix release"),
    ] {
        assert_eq!(made(env, run), [], "{env} {run}");
    }
}

#[test]
fn arguments_that_nothing_takes_are_warned_of_with_what_was_meant() {
    let rule = ["unknown-arg"];
    let tree = last_stage("ARG VERSION").arg("VERSON", "1");
    assert_eq!(tree.found(&rule), [(Weight::Warned, "unknown-arg", 0)]);
    assert!(tree.words("unknown-arg").contains("did you mean VERSION?"));
    assert!(
        last_stage("ARG A")
            .arg("SOMETHING", "1")
            .words("unknown-arg")
            .contains("declare it")
    );
    for name in [
        "VERSION",
        "http_proxy",
        "BUILDKIT_INLINE_CACHE",
        "SOURCE_DATE_EPOCH",
    ] {
        assert_eq!(
            last_stage("ARG VERSION").arg(name, "1").found(&rule),
            [],
            "{name}"
        );
    }
    let global = Tree::of("ARG A\nFROM ${A}\nUSER 1").arg("A", "debian:12");
    assert_eq!(global.found(&rule), []);
}

#[test]
fn what_pages_would_lack_is_told() {
    let rule = ["empty-public-arg"];
    let tree = || last_stage("ARG NEXT_PUBLIC_API");
    assert_eq!(tree().found(&rule), [(Weight::Told, "empty-public-arg", 3)]);
    assert_eq!(tree().arg("NEXT_PUBLIC_API", "https://x").found(&rule), []);
    assert_eq!(last_stage("ARG NEXT_PUBLIC_API=https://x").found(&rule), []);
    assert_eq!(last_stage("ARG API").found(&rule), []);
}

#[test]
fn compilers_in_the_image_are_warned_of() {
    let rule = ["compiler"];
    for line in [
        "RUN apt-get update && apt-get install -y build-essential",
        "RUN apk add --no-cache gcc musl-dev",
        "RUN apt-get install -y \\\n  curl \\\n  make",
        "RUN <<EOF\napt-get install -y g++\nEOF",
        "RUN [\"apt-get\", \"install\", \"gcc\"]",
    ] {
        assert_eq!(
            last_stage(line).found(&rule),
            [(Weight::Warned, "compiler", 3)],
            "{line}"
        );
    }
    for line in [
        "RUN apk add --virtual .b gcc && make && apk del .b",
        "RUN apt-get install -y libgcc-s1 libstdc++6",
        "RUN make",
        "RUN npm install make",
        "RUN echo apt-get install gcc-doc",
    ] {
        assert_eq!(last_stage(line).found(&rule), [], "{line}");
    }
    let builder = "FROM a:1 AS builder\nRUN apk add gcc\nFROM b:1\nCOPY --from=builder / /\n";
    assert_eq!(Tree::of(builder).found(&rule), []);
    // Its layers are those of what it begins with.
    let based = "FROM a:1 AS base\nRUN apk add gcc\nFROM base\nUSER 1\n";
    assert_eq!(Tree::of(based).found(&rule), [(Weight::Warned, "compiler", 2)]);
}

#[test]
fn an_image_of_root_is_told() {
    let rule = ["root"];
    assert_eq!(Tree::of("FROM a:1\n").found(&rule), [(Weight::Told, "root", 0)]);
    assert_eq!(
        Tree::of("FROM a:1\nUSER root\n").found(&rule),
        [(Weight::Told, "root", 2)]
    );
    assert_eq!(
        Tree::of("FROM a:1\nUSER 1\nUSER 0:0\n").found(&rule),
        [(Weight::Told, "root", 3)]
    );
    for text in [
        "FROM a:1\nUSER root\nUSER nobody\n",
        "FROM a:1 AS base\nUSER 1\nFROM base\n",
        "FROM gcr.io/distroless/static:nonroot\n",
    ] {
        assert_eq!(Tree::of(text).found(&rule), [], "{text}");
    }
}

#[test]
fn an_entrypoint_in_a_shell_is_warned_of() {
    let rule = ["shell-entrypoint"];
    assert_eq!(
        last_stage("ENTRYPOINT /app/bin/server").found(&rule),
        [(Weight::Warned, "shell-entrypoint", 3)]
    );
    for line in [
        "ENTRYPOINT [\"/app/bin/server\"]",
        "ENTRYPOINT exec /app/bin/server",
        "ENTRYPOINT a\nENTRYPOINT [\"b\"]",
        "CMD a",
        "ENTRYPOINT",
    ] {
        assert_eq!(last_stage(line).found(&rule), [], "{line}");
    }
}

#[test]
fn secrets_that_a_run_asks_for_must_be_given() {
    let rule = ["unknown-secret"];
    let tree = || last_stage("RUN --mount=type=secret,id=npm npm ci\nRUN --mount=type=secret,id=npm npm ci");
    assert_eq!(tree().found(&rule), [(Weight::Warned, "unknown-secret", 3)]);
    assert_eq!(tree().secret("npm").found(&rule), []);
    // Without an id it is called as its file is.
    let file = || last_stage("RUN --mount=type=secret,target=/root/.npmrc npm ci");
    assert_eq!(file().found(&rule).len(), 1);
    assert_eq!(file().secret(".npmrc").found(&rule), []);
    assert_eq!(
        last_stage("RUN --mount=type=cache,id=npm npm ci").found(&rule),
        []
    );
}

#[test]
fn a_target_that_is_no_stage_is_refused_and_its_chain_alone_is_judged() {
    let text = "FROM a:1 AS one\nFROM b:1 AS two\nUSER 1\n";
    let wrong = Tree::of(text).target("three");
    assert_eq!(wrong.found(&["no-target"]), [(Weight::Refused, "no-target", 0)]);
    assert!(wrong.words("no-target").contains("one and two"));
    let one = Tree::of(text).target("ONE").judged();
    let references: Vec<_> = one
        .base_images
        .iter()
        .map(|base| base.reference.as_str())
        .collect();
    assert_eq!(references, ["a:1"]);
}

#[test]
fn a_file_without_a_stage_is_refused_unless_something_else_reads_it() {
    for text in ["", "\n\n", "# nothing", "RUN a", "ARG A"] {
        assert_eq!(
            Tree::of(text).found(&["no-stage"]),
            [(Weight::Refused, "no-stage", 0)],
            "{text}"
        );
    }
    let own = Tree::of("# syntax=example.com/own:1\nwhatever").judged();
    assert_eq!(rules(&own), ["other-syntax"]);
    for syntax in [
        "docker/dockerfile:1",
        "docker.io/docker/dockerfile:1.7-labs",
        "r.test/docker/dockerfile-upstream:master",
    ] {
        let tree = Tree::of(&format!("# syntax={syntax}\nFROM a:1\n"));
        assert_eq!(tree.found(&["other-syntax"]), [], "{syntax}");
    }
}

#[test]
fn tool_versions_become_the_arguments_that_are_declared_and_not_given() {
    let tools = "erlang 27.0.1\nelixir 1.17.3-otp-27\nnodejs 22.3.0\n";
    let extra = |tree: Tree| -> Vec<(String, String, u32)> {
        let all = tree.file(".tool-versions", tools).judged().extra_args.into_iter();
        all.map(|extra| (extra.arg, extra.value, extra.line.unwrap()))
            .collect()
    };
    assert_eq!(
        extra(phoenix()),
        [
            ("OTP_VERSION".into(), "27.0.1".into(), 1),
            ("ELIXIR_VERSION".into(), "1.17.3".into(), 2)
        ]
    );
    assert_eq!(
        extra(phoenix().arg("OTP_VERSION", "27.0.1")),
        [("ELIXIR_VERSION".into(), "1.17.3".into(), 2)]
    );
    assert_eq!(extra(next()), []);
    let judged = phoenix().file(".tool-versions", tools).judged();
    assert_eq!(
        judged.base_images.first().unwrap().reference,
        "hexpm/elixir:1.17.3-erlang-27.0.1-debian-bookworm-20240701-slim"
    );
    let told: Vec<_> = rules(&judged)
        .into_iter()
        .filter(|rule| *rule == "version-default")
        .collect();
    // 27.0 may be 27.0.1, but 1.17.2 is not 1.17.3.
    assert_eq!(told.len(), 1);
}

#[test]
fn two_places_that_say_different_versions_are_warned_of_with_both() {
    let rule = ["other-version"];
    let tools = |tree: Tree| tree.file(".tool-versions", "# all\nelixir 1.16.1\nnodejs 22.3.0\n");
    let base = tools(Tree::of("FROM elixir:1.15\nUSER 1\n"));
    assert_eq!(base.found(&rule), [(Weight::Warned, "other-version", 1)]);
    assert!(
        base.words("other-version")
            .contains("elixir:1.15 has elixir 1.15, and .tool-versions:2 says 1.16.1")
    );
    let given = tools(last_stage("ARG ELIXIR_VERSION")).arg("ELIXIR_VERSION", "1.15");
    assert_eq!(given.found(&rule), [(Weight::Warned, "other-version", 2)]);
    assert!(
        given
            .words("other-version")
            .contains("build.args gives ELIXIR_VERSION=1.15")
    );
    let set = tools(last_stage("ENV NODE_VERSION=18.0.0"));
    assert_eq!(set.found(&rule), [(Weight::Warned, "other-version", 3)]);
    for tree in [
        Tree::of("FROM elixir:1.16\nUSER 1\n"),
        Tree::of("ARG ELIXIR_VERSION=1.15\nFROM elixir:${ELIXIR_VERSION}\nUSER 1\n"),
        Tree::of("FROM node:lts\nUSER 1\n"),
        last_stage("ARG ELIXIR_VERSION").arg("ELIXIR_VERSION", "1.16"),
    ] {
        assert_eq!(tools(tree).found(&rule), []);
    }
}

#[test]
fn a_tool_without_a_number_leaves_the_default_and_is_told() {
    let tree = last_stage("ARG ELIXIR_VERSION=1.16").file(".tool-versions", "elixir ref:main\n");
    assert_eq!(tree.found(&["no-version"]), [(Weight::Told, "no-version", 1)]);
    assert_eq!(tree.judged().extra_args, []);
}

#[test]
fn a_file_of_more_than_half_a_megabyte_is_refused_unread() {
    let tree = Tree::of(&"#\n".repeat(LARGEST / 2 + 1));
    assert_eq!(rules(&tree.judged()), ["too-large"]);
    assert!(tree.judged().is_refused());
}

/// Long texts that repeat what costs most to look at.
#[test]
fn hostile_texts_cost_no_more_than_their_length() {
    let most = LARGEST / 4;
    let fill = |piece: &str| piece.repeat(most / piece.len().max(1));
    for piece in [
        "FROM a\n",
        "FROM a AS a\n",
        "FROM a${TARGETARCH} AS a\n",
        "COPY --from=0 a b\n",
        "RUN <<EOF\n",
        "RUN <<A <<B <<C\nA\n",
        "ENV A=$A$A\n",
        "ARG A=$A$A\n",
        "ARG PASSWORD\n",
        "ENV A=1 \\\n",
        "RUN a;b|c&d\n",
        "COPY .env id_rsa x.pem /\n",
        "pw=$(",
        "password=`",
        "${A:-",
        "\"'\\",
        "[\"",
        "<<",
        "--a=",
        "\\\n",
        "# slipway: public\n",
        "\u{feff}",
        "://a:b@",
        "\t\u{0}\r",
        "äöü",
    ] {
        for start in ["", "FROM a:1\nRUN "] {
            let text = format!("{start}{}", fill(piece));
            let tree = Tree::of(&text)
                .file(".tool-versions", &fill(piece))
                .file("mix.exs", &fill(piece));
            let before = Instant::now();
            let judged = tree.judged();
            let took = before.elapsed();
            assert!(took.as_secs() < 10, "{piece:?} after {start:?} took {took:?}");
            assert!(judged.findings.len() <= 101);
        }
    }
}

/// Pieces that texts of any kind are put together from.
#[test]
fn the_time_of_the_commit_is_declared_by_an_argument_alone() {
    assert!(
        Tree::of("FROM a:1\nARG SOURCE_DATE_EPOCH\n")
            .judged()
            .declares_time
    );
    assert!(
        !Tree::of("FROM a:1\nRUN echo $SOURCE_DATE_EPOCH\n")
            .judged()
            .declares_time
    );
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("FROM "),
        Just("a AS b"),
        Just("\n"),
        Just("\r\n"),
        Just("RUN "),
        Just("ENV "),
        Just("ARG "),
        Just("COPY "),
        Just("--from=b "),
        Just("--mount=type=secret,id=x "),
        Just("<<EOF"),
        Just("<<-'E'"),
        Just("EOF\n"),
        Just("\\\n"),
        Just("# "),
        Just("# escape=`\n"),
        Just("`"),
        Just("$A"),
        Just("${A:-"),
        Just("}"),
        Just("\""),
        Just("'"),
        Just("["),
        Just("]"),
        Just("="),
        Just("A=1"),
        Just("PASSWORD="),
        Just("hunter22"),
        Just("://u:p@h"),
        Just("\u{feff}"),
        Just("ä"),
        Just("ONBUILD "),
        Just("USER "),
        Just("ENTRYPOINT "),
        Just("HEALTHCHECK CMD "),
        Just("; "),
        Just("$("),
        Just(")"),
        Just("elixir 1.2\n"),
        Just("{:a, \"~> 1\"}"),
        Just("require ("),
        Just("\u{0}"),
        Just(" "),
        Just("\t"),
    ];
    prop::collection::vec(
        prop_oneof![4 => piece.prop_map(ToOwned::to_owned), 1 => any::<String>()],
        0..60,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in pieces(), other in pieces(), value in pieces()) {
        let mut tree = Tree::of(&text).arg("A", &value).target(&value).secret(&other);
        for name in WANTED {
            tree = tree.file(name, &other);
        }
        let _ = tree.judged();
        tree.target = None;
        let _ = tree.judged();
    }

    #[test]
    fn no_line_is_beyond_the_end(text in pieces()) {
        let lines = u32::try_from(text.split('\n').count()).unwrap();
        for finding in Tree::of(&text).judged().findings {
            prop_assert!(finding.line.is_none_or(|line| (1..=lines).contains(&line)), "{finding:?}");
        }
    }

    #[test]
    fn what_a_secret_is_made_of_is_never_in_what_is_said(before in pieces(), after in pieces()) {
        let secret = "xQ7kP2mN9vL4";
        let text = format!("{before}\nENV DB_PASSWORD={secret}\n{after}");
        let said = format!("{:?}", Tree::of(&text).judged());
        prop_assert!(!said.contains(secret));
    }
}
