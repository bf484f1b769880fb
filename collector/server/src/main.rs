//! The program: options, then one of its commands. Exit code 0, 1 for what went wrong, 2 for wrong options.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tenantscope_server::audit::Audit;
use tenantscope_server::cli::{Check, Cli, Command, RemoveTenant, Report, Serve, Tenants};
use tenantscope_server::config::Config;
use tenantscope_server::{check, listing, report, serve, telemetry, tenants};

/// Batches are made on one thread and dropped on another, many small pieces each: glibc's allocator takes a third of the
/// CPU of remote write for that, and five times the CPU of a replay.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Serve(options) => run_serve(&cli, options),
        Command::Check(options) => run_check(options),
        Command::Report(options) => run_report(options),
        Command::Tenants(tenants) => run_tenants(tenants),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            fail(&with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes; many a text names its cause already.
fn with_causes(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

fn run_serve(cli: &Cli, options: &Serve) -> Result<ExitCode> {
    let config = Config::for_serve(options)?;
    install_crypto()?;
    // Ends last, with all that was told by then.
    let audit = Audit::open(&config.audit, &config.folder, &config.data_dir())?;
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let traces = config.traces.otlp_grpc.as_deref();
        let _telemetry = telemetry::start(&cli.log, cli.log_format, traces, audit.layer())?;
        Box::pin(serve::serve(options, config)).await
    });
    // What may still run then is a replay that nobody waits for any more: the next start begins it anew.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

fn run_check(options: &Check) -> Result<ExitCode> {
    install_crypto()?;
    let found = check::check(&options.config);
    for line in &found.errors {
        fail(line);
    }
    for line in &found.warnings {
        fail(&format!("{line} (a warning)"));
    }
    let is_right = found.errors.is_empty() && (found.warnings.is_empty() || !options.strict);
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_report(options: &Report) -> Result<ExitCode> {
    install_crypto()?;
    let written = runtime()?.block_on(report::write(options))?;
    let reports = if written == 1 { "report" } else { "reports" };
    say(&format!("{written} {reports} in {}", options.out.display()));
    Ok(ExitCode::SUCCESS)
}

fn run_tenants(wanted: &Tenants) -> Result<ExitCode> {
    install_crypto()?;
    let told = match wanted {
        Tenants::List(asking) => runtime()?.block_on(listing::list(asking))?,
        Tenants::Show(options) => runtime()?.block_on(listing::show(options))?,
        Tenants::Remove(options) => return run_remove(options),
    };
    say(&told);
    Ok(ExitCode::SUCCESS)
}

fn run_remove(options: &RemoveTenant) -> Result<ExitCode> {
    let (record, is_gone) = runtime()?.block_on(tenants::ask(options))?;
    say(&record);
    Ok(if is_gone { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("runtime")
}

/// Every TLS connection of the program uses ring.
fn install_crypto() -> Result<()> {
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))
}

#[expect(clippy::print_stdout, reason = "a command's answer goes to standard output")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a command's errors go to standard error, log or no log")]
fn fail(text: &str) {
    eprintln!("{text}");
}
