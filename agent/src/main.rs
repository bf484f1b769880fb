//! tenantscope-agent: collects a tenant account's telemetry, buffers it on disk, forwards it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tenantscope_agent::agent;
use tenantscope_agent::config::{Config, Options};
use tenantscope_agent::logging::{self, LogOptions};
use tokio::signal::unix::{SignalKind, signal};

/// Wrong usage or configuration.
const EXIT_USAGE: u8 = 2;
/// Threads for work that blocks on the disk.
const MAX_BLOCKING_THREADS: usize = 4;

/// Collects a tenant account's telemetry, buffers it on disk, forwards it to the collector
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = ENVIRONMENT, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
    #[command(flatten)]
    log: LogOptions,
}

/// What `--help` says below the options.
const ENVIRONMENT: &str = "Each option has an environment variable and, but for the log's and the file's own, a key in the \
file: see docs/agent-configuration.md. An option counts before its variable, that before the collector's document, and that \
before the file. AWS credentials, region and endpoints come as for every AWS program: AWS_PROFILE, AWS_ACCESS_KEY_ID, \
AWS_REGION, AWS_ENDPOINT_URL and their like, or the role of the task, function or instance.";

#[derive(Subcommand)]
enum Mode {
    /// Collect and receive until SIGTERM
    #[command(after_help = ENVIRONMENT)]
    Run(Options),
    /// One round of each source, deliver it, end
    #[command(after_help = ENVIRONMENT)]
    Once(Options),
    /// Read the configuration: `ok` and 0 if it is right, else 2 and `file:line: message`
    #[command(after_help = ENVIRONMENT)]
    Check(Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (Mode::Run(options) | Mode::Once(options) | Mode::Check(options)) = &arguments.mode;
    let config = match Config::load(options) {
        Ok(config) => config,
        Err(error) => return fail(&error, EXIT_USAGE),
    };
    if matches!(arguments.mode, Mode::Check(_)) {
        return say_ok();
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let is_once = matches!(arguments.mode, Mode::Once(_));
    runtime.block_on(async {
        let logging = match logging::start(&arguments.log, config.traces_endpoint.as_deref()) {
            Ok(logging) => logging,
            Err(error) => return fail(&error, EXIT_USAGE),
        };
        let outcome = if is_once {
            Box::pin(agent::once(config, end())).await
        } else {
            Box::pin(agent::run(config, end())).await
        };
        logging.end().await;
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        }
    })
}

/// SIGTERM or SIGINT.
async fn end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[allow(clippy::print_stdout)] // the command's answer
fn say_ok() -> ExitCode {
    println!("ok");
    ExitCode::SUCCESS
}

#[allow(clippy::print_stderr)] // the command's answer
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("tenantscope-agent: {}", tenantscope_agent::aws::chain(error));
    ExitCode::from(code)
}
