//! `afterburner-controlplane`: the name server as a program. Options are those of `mqnamesrv`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use controlplane::config::Config;
use controlplane::namesrv::NameServer;
use controlplane::persist;
use controlplane::server::Server;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(name = "afterburner-controlplane", version, about = "The RocketMQ name server of Afterburner")]
struct Args {
    /// A properties file with RocketMQ's own keys; changes made at run time are written back to it
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Print all settings and exit
    #[arg(short = 'p', long = "printConfigItem")]
    print_config: bool,
    /// Accepted for the sake of scripts, and unused, as in RocketMQ
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    _namesrv_addr: Option<String>,
    /// Set one key, over the file; may be given many times. -p shows all keys
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match start(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("afterburner-controlplane: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<(), String> {
    let config = read_config(args)?;
    if args.print_config {
        print!("{}", config.to_text());
        return Ok(());
    }
    raise_open_files();
    let threads = config.settings().selector_threads.min(available_cores());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?;
    runtime.block_on(serve(config))
}

fn read_config(args: &Args) -> Result<Config, String> {
    let home = std::env::var("HOME").unwrap_or_else(|_| ".".to_owned());
    let mut config = Config::new(&home, std::env::var("ROCKETMQ_HOME").ok());
    if let Some(path) = &args.config_file {
        let path =
            std::path::absolute(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let name = path.display().to_string();
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("-c {name}: {error}; give a file that can be read"))?;
        config.read_file(&name, &bytes).map_err(|error| error.to_string())?;
    }
    for argument in &args.set {
        config.read_argument(argument).map_err(|error| error.to_string())?;
    }
    Ok(config)
}

async fn serve(config: Config) -> Result<(), String> {
    let settings = config.settings();
    let kv = persist::load_kv(&settings.kv_config_path).map_err(|error| error.to_string())?;
    let listening = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut terminate, mut interrupt) =
        (listening(SignalKind::terminate())?, listening(SignalKind::interrupt())?);
    let server = Server::bind(|now| NameServer::new(config, kv, now)).map_err(|error| {
        let bind = settings.bind;
        let mend = match error.kind() {
            ErrorKind::AddrNotAvailable => "set bindAddress to one that `ip address` shows, or leave it out",
            ErrorKind::PermissionDenied => "set a listenPort of 1024 or above, or be root",
            _ => "end what listens there, or set listenPort and bindAddress",
        };
        format!("cannot listen on {bind}: {error}; {mend}")
    })?;
    let address = server.local_addr().map_err(|error| error.to_string())?;
    println!("The Name Server boot success. serializeType=JSON, address {address}");
    server
        .run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

/// Every connection is a file; most systems start programs with a soft limit of 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        log::warn!("cannot raise the limit of open files above {:?}: {error}", limit.current);
    }
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
