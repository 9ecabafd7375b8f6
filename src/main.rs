//! The binary: one command, one exit code.

use std::process::ExitCode;

use clap::Parser as _;

/// Many short JSON trees: its resident size is steadier than that of glibc's.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // First of all: whoever uses TLS without a named provider panics.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("error: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    slipway::cli::run(slipway::cli::Cli::parse())
}
