#!/usr/bin/env bash
# Installs what building and checking need beyond Rust: a C compiler, make and perl for the vendored C libraries, shellcheck.
# The bed installs its own packages. Does nothing where all is there.
set -euo pipefail

packages=(gcc libc6-dev make perl pkg-config git ca-certificates shellcheck)
missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  ((EUID == 0)) || { echo "missing: ${missing[*]}; install them, or run this as root" >&2; exit 1; }
  echo "installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
  apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >&2
fi

command -v cargo >/dev/null || { echo "missing: cargo, from rustup or a package, 1.89 or newer" >&2; exit 1; }
have=$(cargo --version | cut -d' ' -f2)
printf '%s\n' 1.89.0 "$have" | sort -V -C || { echo "cargo is $have; 1.89 or newer is needed" >&2; exit 1; }
