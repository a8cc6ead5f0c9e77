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
};
use sessionwarden_store::{Backend, Embedded, StoreError};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "aws")]
use super::fleet::{self, Surroundings};
use super::{FAILED, Failure, Format, report, routes, write_result};
use crate::{
    audit::AuditFile,
    config::{BackendKind, Config, settings_of},
    console::{Console, ConsoleError, HappeningKind, Health, Status, status},
    control::ControlSocket,
    effects::Reports,
    feed::FeedFile,
    handle::Handler,
    input::{InputFile, ParkedFile, expand},
    local::{demonstration, quicken},
    metrics::Metrics,
    outbound::Outlets,
    policy,
    replay::Summary,
    run::{self, Board, Ingest, Position, SharedBoard, Signals, Source, SourceReader},
    telemetry::{self, Guard, LogTo},
};

/// The stack of a thread, in bytes. The SDK's futures are large, larger still where they are not optimised.
pub(super) const STACK_BYTES: usize = 8 << 20;
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
    if args.config.is_none() && args.source.is_empty() {
        // The organisation of the demonstration is a model: what its mode is, is that of its locks too.
        config.quarantine.mode = config.service.mode;
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
        .thread_stack_size(STACK_BYTES)
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

/// Serves until the end. Sums up what one machine has done; a worker of a fleet knows its own part only.
async fn serve(
    args: &Args,
    config: &Config,
    judge: &Arc<Judge>,
    files: Vec<InputFile>,
) -> Result<Option<Summary>, Failure> {
    let frame = Frame::open(args, config).await?;
    match config.backend.kind {
        BackendKind::Local => Box::pin(serve_here(args, config, judge, files, frame)).await.map(Some),
        BackendKind::Aws => Box::pin(serve_fleet(args, config, judge, frame)).await.map(|()| None),
    }
}

/// What surrounds the service, whatever it runs on: metrics, health and status, and the end.
struct Frame {
    console: Console,
    metrics: Metrics,
    guard: Guard,
    health: Health,
    stop: CancellationToken,
    /// The terminal shows the view.
    view: bool,
}

/// [`Frame`], once it is shown.
struct Shown {
    guard: Guard,
    stop: CancellationToken,
    over: CancellationToken,
    view: Option<JoinHandle<std::io::Result<()>>>,
    console: JoinHandle<Result<(), ConsoleError>>,
}

impl Frame {
    async fn open(args: &Args, config: &Config) -> Result<Self, Failure> {
        let dir = &config.service.data_dir;
        fs::create_dir_all(dir)
            .with_context(|| format!("the data folder {} cannot be created", dir.display()))
            .map_err(Failure::usage)?;
        let view = args.format == Format::Human && status::takes_terminal();
        let log_to = if view { LogTo::File(dir.join("sessionwarden.log")) } else { LogTo::Stderr };
        let (metrics, guard) = telemetry::init(&config.telemetry, &log_to).map_err(Failure::usage)?;
        let console = Console::bind(config.console.listen).await.map_err(Failure::usage)?;
        let stop = CancellationToken::new();
        stop_on_signals(&stop)?;
        Ok(Self { console, metrics, guard, health: Health::new(), stop, view })
    }

    fn show(self, args: &Args, status: watch::Receiver<Status>) -> Shown {
        let over = CancellationToken::new();
        let address = self.console.address();
        let serving = self.console.serve(status.clone(), self.health, self.metrics, over.clone());
        let console = tokio::spawn(serving);
        tracing::info!(%address, "status, health and metrics are served");
        let view = show(args, self.view, status, &self.stop, &over);
        Shown { guard: self.guard, stop: self.stop, over, view, console }
    }
}

impl Shown {
    async fn finish(self) {
        self.stop.cancel();
        self.over.cancel();
        if let Some(view) = self.view {
            let _ = view.await;
        }
        let _ = self.console.await;
        self.guard.shutdown();
    }
}

#[cfg(not(feature = "aws"))]
async fn serve_fleet(_: &Args, _: &Config, _: &Arc<Judge>, _: Frame) -> Result<(), Failure> {
    let text = "`backend.kind` is \"aws\", but this program was built without the feature `aws`";
    Err(Failure::usage(anyhow::anyhow!(text)))
}

/// One worker of a fleet.
#[cfg(feature = "aws")]
async fn serve_fleet(args: &Args, config: &Config, judge: &Arc<Judge>, frame: Frame) -> Result<(), Failure> {
    let feed = FeedFile::open(&config.feed_file()).map_err(Failure::failed)?;
    let (started, settings) = (run::now(), fleet::settings(config));
    let source = format!("stream {}", config.aws.stream);
    let board = Board::new(started, &settings, &source, frame.metrics.clone());
    let mut board = board.among_others(2 * settings.recheck_ms_max);
    tell_waivers(&mut board, judge, started);
    let (sender, status) = watch::channel(board.snapshot(started));
    let around = Surroundings {
        config,
        judge,
        feed,
        metrics: frame.metrics.clone(),
        board: SharedBoard::new(board),
        health: frame.health.clone(),
        status: sender,
    };
    let shown = frame.show(args, status);
    if let Some(time) = args.for_ {
        let stop = shown.stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            stop.cancel();
        });
    }
    let done = Box::pin(fleet::serve(around, shown.stop.clone())).await;
    shown.finish().await;
    done
}

/// One machine: over files, or over the demonstration.
async fn serve_here(
    args: &Args,
    config: &Config,
    judge: &Arc<Judge>,
    files: Vec<InputFile>,
    frame: Frame,
) -> Result<Summary, Failure> {
    let quick = args.source.is_empty();
    let Outputs { store, reports, parked } = Outputs::open(config, quick).await?;
    let started = run::now();
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
    let people = routes::people_here(config, &settings.units, &frame.metrics)?;
    settings.notify = people.is_some();
    let source_name = if quick { "demonstration".to_owned() } else { args.source.join(" ") };
    let mut board = Board::new(started, &settings, &source_name, frame.metrics.clone());
    tell(&mut board, config, judge, quick, started);
    let verdicts = Verdicts::new(Arc::clone(judge));
    let board = SharedBoard::new(board);
    let mut handler = Handler::new(store.clone(), hands, settings, verdicts, reports, frame.metrics.clone(), board);
    handler.outlets = Outlets::new(people);

    let (sender, status) = watch::channel(handler.board.lock().snapshot(started));
    let control = ControlSocket::open(&config.service.data_dir).map_err(Failure::failed)?;
    let signals = Signals {
        control: Some(control),
        stop: frame.stop.clone(),
        until: args.for_.map(|time| tokio::time::Instant::now() + time),
        drain_max: Duration::from_secs(config.service.drain_seconds_max),
        status: sender,
        source_pulse: frame.health.watch("source", STALLED_AFTER),
        recheck_pulse: frame.health.watch("recheck", STALLED_AFTER),
    };
    let shown = frame.show(args, status);
    let mut positions = BTreeMap::new();
    let source = match demo {
        Some(demo) => Source::Demonstration(Box::new(demo)),
        None => {
            positions = run::positions(&store, files.iter().map(InputFile::name)).await.map_err(Failure::failed)?;
            Source::Files(read_files(args, files, &positions, &shown.stop))
        }
    };
    let mut ingest = Ingest::new(parked);
    let done = run::run(&mut handler, &mut ingest, source, &mut positions, signals).await;
    shown.finish().await;
    done.map_err(|error| Failure { code: FAILED, error: error.into() })
}

/// What a run on one machine writes to.
struct Outputs {
    store: Backend,
    reports: Reports,
    parked: ParkedFile,
}

impl Outputs {
    async fn open(config: &Config, demonstration: bool) -> Result<Self, Failure> {
        let dir = &config.service.data_dir;
        let store = Backend::Embedded(open_store(dir, demonstration).await?);
        let feed = FeedFile::open(&config.feed_file()).map_err(Failure::failed)?;
        let audit = AuditFile::open(&config.audit_file()).map_err(Failure::failed)?;
        let parked = ParkedFile::append(&dir.join("parked.jsonl")).map_err(Failure::failed)?;
        Ok(Self { store, reports: Reports::new(feed, audit), parked })
    }
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
