//! `sessionwarden run`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use sessionwarden_machine::{
    compliance::{Judge, Verdicts},
    effect::Mode,
    ids::Now,
    settings::Settings,
};
use sessionwarden_store::{Backend, Embedded, StoreError};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "aws")]
use super::fleet::{self, Surroundings};
use super::{FAILED, Failure, Format, report, write_result};
use crate::{
    audit::AuditFile,
    config::{BackendKind, Config, settings_of},
    console::{Console, ConsoleError, HappeningKind, Health, Status, status},
    effects::Reports,
    feed::FeedFile,
    handle::Handler,
    input::{InputFile, ParkedFile, expand},
    local::{demonstration, quicken},
    policy,
    replay::Summary,
    run::{self, Board, Ingest, Position, SharedBoard, Signals, Source, SourceReader},
    telemetry::{self, LogTo},
};

/// Batches that wait between the reading thread and the service.
const BATCHES_MAX: usize = 4;
/// A loop that shows no life for so long is not ready.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// Run the service: watch sessions as they happen.
///
/// Without a configuration file and without --source it runs a demonstration: a model of an organisation on this
/// machine, in quick motion, in enforce mode, because nothing real is touched. With --source it takes real CloudTrail
/// events. Nothing can be asked of the organisation behind them: controls that need its evidence are reported once as
/// not evaluated, and what would be done is recorded as planned.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take events from this file, folder or pattern, or - for standard input, instead of the demonstration. How far
    /// each file was read is remembered in the data folder.
    #[arg(long, value_name = "PATH")]
    source: Vec<String>,
    /// Go on when all is read, and wait for more.
    #[arg(long, requires = "source")]
    follow: bool,
    /// Whether anything is touched.
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,
    /// Stop after this time, for example 60s or 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    for_: Option<Duration>,
    /// The folder for state, feed and audit trail.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Seed of the demonstration.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "source")]
    seed: u64,
    /// How the summary is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// Decide and report, touch nothing.
    Observe,
    /// Decide, report and act.
    Enforce,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "not a duration; write it as 60s, 5m or 1h 30m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a duration must not be negative".to_owned())
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let mut config = super::config(args.config.as_ref())?;
    if let Some(mode) = args.mode {
        config.service.mode = if mode == ModeArg::Enforce { Mode::Enforce } else { Mode::Observe };
    } else if args.config.is_none() && args.source.is_empty() {
        config.service.mode = Mode::Enforce;
    }
    if let Some(dir) = &args.data_dir {
        config.service.data_dir.clone_from(dir);
    }
    if config.backend.kind == BackendKind::Aws && !args.source.is_empty() {
        let text = "--source takes events from files, and `backend.kind` is \"aws\", which takes them from a stream";
        return Err(Failure::usage(anyhow::anyhow!(text)));
    }
    let judge =
        policy::load(config.policy.dir.as_deref(), config.policy.waivers_dir.as_deref()).map_err(Failure::usage)?;
    let files = expand(&args.source).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot be started")
        .map_err(Failure::failed)?;
    let summary = runtime.block_on(serve(args, &config, &judge, files))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    let Some(summary) = summary else { return Ok(0) };
    let text = match args.format {
        Format::Json => serde_json::to_string(&summary).map_err(Failure::failed)? + "\n",
        Format::Human => report::human(&summary, &judge),
    };
    write_result(&text)?;
    Ok(summary.exit_code())
}

/// Serves until the end, and sums up what one machine has done.
async fn serve(
    args: &Args,
    config: &Config,
    judge: &Arc<Judge>,
    files: Vec<InputFile>,
) -> Result<Option<Summary>, Failure> {
    let dir = &config.service.data_dir;
    fs::create_dir_all(dir)
        .with_context(|| format!("the data folder {} cannot be created", dir.display()))
        .map_err(Failure::usage)?;
    let view = args.format == Format::Human && status::takes_terminal();
    let log_to = if view { LogTo::File(dir.join("sessionwarden.log")) } else { LogTo::Stderr };
    let (metrics, guard) = telemetry::init(&config.telemetry, &log_to).map_err(Failure::usage)?;
    let console = Console::bind(config.console.listen).await.map_err(Failure::usage)?;
    let fleet = config.backend.kind == BackendKind::Aws;
    let quick = args.source.is_empty() && !fleet;
    // The store first: a second process on the same folder is told by the place that both would change.
    let store = if fleet { None } else { Some(open_store(&config.service.data_dir, quick).await?) };
    let feed = FeedFile::open(&config.feed_file()).map_err(Failure::failed)?;

    let started = run::now();
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let health = Health::new();
    let console_stop = CancellationToken::new();
    let address = console.address();
    if store.is_none() {
        let settings = fleet_settings(config)?;
        let source = format!("stream {}", config.aws.stream);
        let board = Board::new(started, &settings, &source, metrics.clone());
        let mut board = board.among_others(2 * settings.recheck_ms_max);
        tell_waivers(&mut board, judge, started);
        let (status_sender, status_receiver) = watch::channel(board.snapshot(started));
        let served = console.serve(status_receiver.clone(), health.clone(), metrics.clone(), console_stop.clone());
        let console = tokio::spawn(served);
        tracing::info!(%address, "status, health and metrics are served");
        let shown = show(args, view, status_receiver, &stop, &console_stop);
        if let Some(time) = args.for_ {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                stop.cancel();
            });
        }
        let around = Surroundings {
            config,
            judge,
            feed,
            metrics,
            board: SharedBoard::new(board),
            health,
            status: status_sender,
        };
        let done = fleet::serve(around, stop.clone()).await;
        finish(&stop, &console_stop, shown, console).await;
        guard.shutdown();
        return done.map(|()| None);
    }
    let Some(store) = store.map(Backend::Embedded) else { return Ok(None) };
    let audit = AuditFile::open(&config.audit_file()).map_err(Failure::failed)?;
    let parked = ParkedFile::append(&config.service.data_dir.join("parked.jsonl")).map_err(Failure::failed)?;
    let reports = Reports::new(feed, audit);
    let mut settings = settings_of(config);
    let (hands, demo) = if quick {
        let (hands, demo) = demonstration(args.seed, started);
        hands.settle_in(&mut settings);
        if args.config.is_none() {
            quicken(&mut settings);
        }
        (Some(hands), Some(demo))
    } else {
        (None, None)
    };
    let source_name = if quick { "demonstration".to_owned() } else { args.source.join(" ") };
    let mut board = Board::new(started, &settings, &source_name, metrics.clone());
    tell(&mut board, config, judge, quick, started);
    let verdicts = Verdicts::new(Arc::clone(judge));
    let board = SharedBoard::new(board);
    let mut handler = Handler::new(store.clone(), hands, settings, verdicts, reports, metrics.clone(), board);

    let (status_sender, status_receiver) = watch::channel(handler.board.lock().snapshot(started));
    let signals = Signals {
        stop: stop.clone(),
        until: args.for_.map(|time| tokio::time::Instant::now() + time),
        drain_max: Duration::from_secs(config.service.drain_seconds_max),
        status: status_sender,
        source_pulse: health.watch("source", STALLED_AFTER),
        recheck_pulse: health.watch("recheck", STALLED_AFTER),
    };
    let console = tokio::spawn(console.serve(status_receiver.clone(), health, metrics, console_stop.clone()));
    tracing::info!(%address, "status, health and metrics are served");
    let shown = show(args, view, status_receiver, &stop, &console_stop);

    let mut positions = BTreeMap::new();
    let source = match demo {
        Some(demo) => Source::Demonstration(Box::new(demo)),
        None => {
            positions = run::positions(&store, files.iter().map(InputFile::name)).await.map_err(Failure::failed)?;
            Source::Files(read_files(args, files, &positions, &stop))
        }
    };
    let mut ingest = Ingest::new(parked);
    let done = run::run(&mut handler, &mut ingest, source, &mut positions, signals).await;
    finish(&stop, &console_stop, shown, console).await;
    guard.shutdown();
    done.map(Some).map_err(|error| Failure { code: FAILED, error: error.into() })
}

/// Ends what is around the service.
async fn finish(
    stop: &CancellationToken,
    console_stop: &CancellationToken,
    shown: Option<JoinHandle<std::io::Result<()>>>,
    console: JoinHandle<Result<(), ConsoleError>>,
) {
    stop.cancel();
    console_stop.cancel();
    if let Some(shown) = shown {
        let _ = shown.await;
    }
    let _ = console.await;
}

/// Opens the state. The organisation of the demonstration begins anew with every start, and its state with it; that of
/// real events is kept apart and goes on.
async fn open_store(dir: &Path, demonstration: bool) -> Result<Embedded, Failure> {
    if !demonstration {
        return Embedded::open(&dir.join("state")).await.map_err(Failure::failed);
    }
    let dir = dir.join("demonstration");
    // Opened first, because a demonstration that still runs must keep its state.
    match Embedded::open(&dir).await {
        Ok(_) | Err(StoreError::Damaged { .. } | StoreError::Format { .. }) => {}
        Err(error) => return Err(Failure::failed(error)),
    }
    fs::remove_dir_all(&dir)
        .with_context(|| format!("the state of the last demonstration in {} cannot be deleted", dir.display()))
        .map_err(Failure::failed)?;
    Embedded::open(&dir).await.map_err(Failure::failed)
}

fn say(board: &mut Board, text: String, now: Now) {
    tracing::warn!("{text}");
    board.notice(now, HappeningKind::Notice, text);
}

/// Says once what a source of real events can and cannot do, and which waivers work no more.
fn tell(board: &mut Board, config: &Config, judge: &Judge, demonstration: bool, now: Now) {
    if !demonstration && config.service.mode == Mode::Enforce {
        let text = "events alone have no organisation behind them: what would be done is recorded as planned";
        say(board, text.to_owned(), now);
    }
    tell_waivers(board, judge, now);
}

fn tell_waivers(board: &mut Board, judge: &Judge, now: Now) {
    for waiver in judge.expired_waivers(now.as_event_time()) {
        let text = format!(
            "{}:{}: waiver {} expired at {}; it excuses nothing since then (owner {}, ticket {})",
            waiver.file, waiver.line, waiver.id, waiver.expires, waiver.owner, waiver.ticket
        );
        say(board, text, now);
    }
}

#[cfg(feature = "aws")]
fn fleet_settings(config: &Config) -> Result<Settings, Failure> {
    Ok(fleet::settings(config))
}

#[cfg(not(feature = "aws"))]
fn fleet_settings(_: &Config) -> Result<Settings, Failure> {
    Err(Failure::usage(anyhow::anyhow!(
        "`backend.kind` is \"aws\", but this program was built without the feature `aws`"
    )))
}

fn stop_on_signals(stop: &CancellationToken) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signal = signal(kind).context("signals cannot be watched").map_err(Failure::failed)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signal.recv().await;
            stop.cancel();
        });
    }
    Ok(())
}

/// Shows the status: the view on a terminal, lines elsewhere, nothing where JSON is wanted.
fn show(
    args: &Args,
    view: bool,
    status: watch::Receiver<Status>,
    stop: &CancellationToken,
    over: &CancellationToken,
) -> Option<tokio::task::JoinHandle<std::io::Result<()>>> {
    let (stop, over) = (stop.clone(), over.clone());
    match (view, args.format) {
        (true, _) => Some(tokio::spawn(async move {
            let closed = over.child_token();
            let shown = status::show(status, closed.clone()).await;
            // Whoever closes the view stops the service.
            stop.cancel();
            shown
        })),
        (false, Format::Human) => {
            Some(tokio::spawn(async move { status::print_lines(std::io::stdout(), status, over).await }))
        }
        (false, Format::Json) => None,
    }
}

fn read_files(
    args: &Args,
    files: Vec<InputFile>,
    positions: &BTreeMap<Arc<str>, Position>,
    stop: &CancellationToken,
) -> mpsc::Receiver<run::Batch> {
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    let known = positions.clone();
    let position_of = move |file: &InputFile| known.get(file.name().as_str()).copied().unwrap_or_default();
    let paths = args.source.clone();
    let reader = SourceReader {
        files: files.into_iter().map(|file| (file.clone(), position_of(&file))).collect(),
        follow: args.follow,
        rescan: Box::new(move || expand(&paths).unwrap_or_default()),
        position_of: Box::new(position_of),
    };
    let stop = stop.clone();
    std::thread::spawn(move || reader.run(&sender, &stop));
    receiver
}
