//! `sessionwarden run` on the services of AWS.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use aws_config::SdkConfig;
use sessionwarden_machine::{
    compliance::{Judge, Verdicts},
    lease::{LeaseSettings, Start, WorkerId},
    settings::Settings,
};
use sessionwarden_store::{DynamoDb, DynamoDbLeases, DynamoDbSettings, ExpiredItems, StreamsConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{FAILED, Failure, routes};
use crate::{
    audit::{AuditFile, AuditObjects, AuditTrail, ObjectsSettings},
    aws::{AwsOrganization, AwsSettings, LockSettings},
    config::{Aws, Config, MetricNaming, StreamStart, scp_settings_of, settings_of},
    console::{Health, Status},
    control::{self, ControlReply, ControlRequest},
    effects::{Reports, SharedMemory},
    feed::FeedFile,
    fleet::{Crew, Duties, DutyTimes, Fleet, FleetSink, Rechecks, Regions},
    handle::SharedStates,
    metrics::Metrics,
    outbound::{
        CloudWatch, Counts, Deliver, DeskLimits, Destination, EventBus, Line, MetricNames, Notifier, Outlets,
        ParkedQueue, Queues, SnsRoute, SnsTopics, SqsWakeUps, Tell, TopicTemplate, WakeLimits,
    },
    run::{Board, SharedBoard},
    stream::{EventStream, FanOutSettings, Kinesis, KinesisSettings, ReadBy, StreamError, Worker, WorkerSettings},
};

/// Within what time the wake-ups of one account and region are one.
const GRAIN_MS: i64 = 1_000;
/// A loop that shows no life for so long is not ready.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// The most records handed on at once.
const BATCH_MAX: usize = 500;

/// What the service watches and tells, whatever it runs on.
pub(super) struct Surroundings<'a> {
    pub(super) config: &'a Config,
    pub(super) judge: &'a Arc<Judge>,
    pub(super) feed: FeedFile,
    pub(super) metrics: Metrics,
    pub(super) board: SharedBoard,
    pub(super) health: Health,
    pub(super) status: watch::Sender<Status>,
}

/// The core's settings on this backend.
pub(super) fn settings(config: &Config) -> Settings {
    let mut settings = settings_of(config);
    settings.notify =
        config.aws.central_topic.is_some() || config.aws.member_topic.is_some() || !config.routes.is_empty();
    settings
}

/// Runs a worker of the fleet until `stop`. Everything it uses is looked at first, and all that is wrong is told.
pub(super) async fn serve(around: Surroundings<'_>, stop: CancellationToken) -> Result<(), Failure> {
    let aws = &around.config.aws;
    let hands = connect(around.config).await?;
    let hands = Arc::new(hands.with_metrics(around.metrics.clone()));
    let own = hands.own_config();
    let services = Box::pin(Services::open(aws, &own)).await?;
    let worker_id = worker_id(aws);
    let audit = audit(around.config, &own, &worker_id)?;
    let expiry = ExpiredItems::new(&StreamsConfig::from(&own), &services.store);
    let queue = services.queue.clone();
    let settings = settings(around.config);
    let special = |to: &Destination| special(to, &hands, &own);
    let lines = routes::open(around.config, &settings.units, &around.metrics, &special)?;
    let people = people(aws, &hands, &own, lines)?;
    let outlets = Outlets::new(people.clone());
    let crew = Arc::new(Crew {
        store: services.store,
        hands,
        settings,
        verdicts: Verdicts::new(Arc::clone(around.judge)),
        reports: Reports::new(around.feed, audit),
        metrics: around.metrics,
        board: around.board,
        outlets,
        regions: Regions::default(),
        memory: SharedMemory::default(),
        states: SharedStates::default(),
    });
    let rechecks = Rechecks::new(Arc::clone(&crew), queue, GRAIN_MS);
    let parked = services.parked;
    let sink = FleetSink::new(aws.stream.as_str(), Arc::clone(&rechecks), move || parked.clone().into());
    let names = match aws.metric_names {
        MetricNaming::Own => Some(MetricNames::Own),
        MetricNaming::Original => Some(MetricNames::Original),
        MetricNaming::Off => None,
    };
    let duties = Duties {
        rechecks: Arc::clone(&rechecks),
        times: DutyTimes { reconcile: Duration::from_secs(aws.reconcile_seconds), ..DutyTimes::default() },
        counts: names.map(|names| (Counts::new(names), CloudWatch::new(&own))),
        expiry,
        people,
        status: around.status,
        source_pulse: around.health.watch("source", STALLED_AFTER),
        recheck_pulse: around.health.watch("recheck", STALLED_AFTER),
    };
    let worker = Worker::new(worker_id, worker_settings(aws)).map_err(Failure::usage)?;
    let fleet = Fleet {
        sink,
        rechecks,
        duties,
        stream: Arc::new(services.stream),
        leases: services.leases,
        worker,
        wake_limits: WakeLimits::default(),
        drain_max: Duration::from_secs(around.config.service.drain_seconds_max),
    };
    let stopped = Box::pin(fleet.run(stop)).await.map_err(|error| Failure { code: FAILED, error: error.into() })?;
    for shard in stopped.left_behind {
        tracing::warn!(%shard, "the shard could not be handed over in time: it is taken when its lease ends");
    }
    Ok(())
}

/// Answers a question, or writes what is ordered into the state that the workers share. What follows from it is theirs to
/// do.
pub(super) async fn answer(config: &Config, request: ControlRequest) -> Result<ControlReply, Failure> {
    let own = aws_config::defaults(aws_config::BehaviorVersion::latest()).load().await;
    let store = DynamoDb::new(&aws_sdk_dynamodb::Config::from(&own), tables(&config.aws));
    store.check_tables().await.map_err(Failure::failed)?;
    let caller = aws_sdk_sts::Client::new(&own).get_caller_identity().send().await;
    let caller = caller.context("STS does not say who you are").map_err(Failure::failed)?;
    let who = caller.arn().context("STS does not say who you are").map_err(Failure::failed)?;
    let judge = crate::policy::load(config.policy.dir.as_deref(), config.policy.waivers_dir.as_deref());
    let verdicts = Verdicts::new(judge.map_err(Failure::usage)?);
    let (metrics, now) = (Metrics::new().map_err(Failure::failed)?, crate::run::now());
    let settings = settings(config);
    let board = SharedBoard::new(Board::new(now, &settings, "", metrics.clone()));
    let mut handler = control::desk::<_, Arc<AwsOrganization>>(store, settings, verdicts, metrics, board);
    Box::pin(control::answer(&mut handler, request, who.into(), now)).await.map_err(Failure::failed)
}

fn tables(aws: &Aws) -> DynamoDbSettings {
    DynamoDbSettings {
        state_table: aws.state_table.clone(),
        index_table: aws.index_table.clone(),
        ..DynamoDbSettings::default()
    }
}

/// The audit trail: in the bucket, where there is one, or else in a file of this machine.
fn audit(config: &Config, own: &SdkConfig, worker: &WorkerId) -> Result<AuditTrail, Failure> {
    Ok(match &config.audit.bucket {
        Some(bucket) => {
            let objects = ObjectsSettings::new(
                bucket.as_str(),
                config.audit.prefix.as_str(),
                Arc::clone(&worker.0),
                crate::run::now(),
            );
            AuditObjects::new(own, objects).into()
        }
        None => AuditFile::open(&config.audit_file()).map_err(Failure::failed)?.into(),
    })
}

fn hands_settings(config: &Config) -> Result<AwsSettings, Failure> {
    let aws = &config.aws;
    Ok(AwsSettings {
        wanted: super::wanted::read(config.incidents.wanted.as_deref())?,
        preferences: config.preferences.clone(),
        regions: aws.regions(),
        organization_account: aws.organization_account,
        log_account: config.organization.log_archive_account,
        locks: LockSettings {
            access_policy: config.quarantine.access_policy.as_deref().map(Arc::from),
            channel_policy: config.quarantine.channel_policy.as_deref().map(Arc::from),
            scp: scp_settings_of(config),
        },
        ..AwsSettings::new(aws.role.as_str(), aws.external_id.as_str())
    })
}

/// The organisation that the configuration names.
pub(super) async fn connect(config: &Config) -> Result<AwsOrganization, Failure> {
    AwsOrganization::connect(hands_settings(config)?).await.map_err(Failure::failed)
}

fn worker_settings(aws: &Aws) -> WorkerSettings {
    let default = WorkerSettings::default();
    WorkerSettings {
        leases: LeaseSettings { fail_over_ms: aws.fail_over_ms, ..LeaseSettings::default() },
        start: match aws.start {
            StreamStart::Oldest => Start::TrimHorizon,
            StreamStart::Newest => Start::Latest,
        },
        poll_ms: aws.poll_ms,
        poll_idle_ms_max: default.poll_idle_ms_max.max(aws.poll_ms).min(aws.poll_ms.saturating_mul(2)),
        round_ms: default.round_ms.min(aws.fail_over_ms / 4),
        batch_max: BATCH_MAX,
        ..default
    }
}

fn worker_id(aws: &Aws) -> WorkerId {
    let named = aws.worker.clone().unwrap_or_else(|| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("{host}:{}", std::process::id())
    });
    // Two runs of one name are two workers: the second must not take the first one's leases for its own.
    WorkerId::from(format!("{named}:{:x}", jiff::Timestamp::now().as_millisecond()).as_str())
}

/// What routes to services of AWS lead to.
fn special(to: &Destination, hands: &Arc<AwsOrganization>, own: &SdkConfig) -> anyhow::Result<Box<dyn Deliver>> {
    Ok(match to {
        Destination::Sns { topic } => Box::new(SnsRoute::new(TopicTemplate::new(topic, &home(own))?, own.clone())),
        Destination::EventBridge { bus } => Box::new(EventBus::new(Arc::clone(hands), bus.as_str())),
        Destination::Webhook { .. } | Destination::File { .. } => anyhow::bail!("it leads to no service of AWS"),
    })
}

fn home(own: &SdkConfig) -> String {
    own.region().map(ToString::to_string).unwrap_or_default()
}

/// Whom a worker tells: members and the centre by their topics, and the routes.
fn people(
    aws: &Aws,
    hands: &Arc<AwsOrganization>,
    own: &SdkConfig,
    lines: Vec<Line>,
) -> Result<Option<Arc<dyn Tell>>, Failure> {
    let home = home(own);
    let central = aws.central_topic.as_deref().map(|arn| TopicTemplate::new(arn, &home));
    let central = central.transpose().map_err(Failure::usage)?.map(|template| (template, own.clone()));
    let members = aws.member_topic.as_deref().map(|arn| TopicTemplate::of_members(arn, &home));
    let members = members.transpose().map_err(Failure::usage)?.map(|template| {
        let hands = Arc::clone(hands);
        let configs: crate::outbound::Configs = Arc::new(move |account| {
            let hands = Arc::clone(&hands);
            Box::pin(async move { hands.config_of(account).await })
        });
        (template, configs)
    });
    if central.is_none() && members.is_none() && lines.is_empty() {
        return Ok(None);
    }
    let topics = SnsTopics::new(central, members);
    Ok(Some(Arc::new(Notifier::new(topics, DeskLimits::default()).with_lines(lines))))
}

/// The services that a worker needs before anything else.
struct Services {
    store: DynamoDb,
    leases: DynamoDbLeases,
    stream: Kinesis,
    queue: SqsWakeUps,
    parked: ParkedQueue,
}

impl Services {
    /// Looks at every service, and tells of all that are not as they must be.
    async fn open(aws: &Aws, own: &SdkConfig) -> Result<Self, Failure> {
        let dynamodb = aws_sdk_dynamodb::Config::from(own);
        let store = DynamoDb::new(&dynamodb, tables(aws));
        let leases = DynamoDbLeases::new(&dynamodb, aws.lease_table.as_str(), (aws.fail_over_ms / 5).max(500));
        let by = aws.consumer.as_deref().map_or(ReadBy::Polling, |name| ReadBy::FanOut(FanOutSettings::new(name)));
        let reading = KinesisSettings::new(aws.stream.as_str());
        let kinesis = aws_sdk_kinesis::Config::from(own);
        let stream = Kinesis::connect(&kinesis, reading, by);
        let queues = Queues::new(aws.wake_queue.as_str(), aws.parked_queue.as_str());
        let queue = SqsWakeUps::new(own, queues);
        let state = async { if aws.create_tables { store.ensure_tables().await } else { store.check_tables().await } };
        let rows = async { if aws.create_tables { leases.ensure_table().await } else { leases.check_table().await } };
        let (state, rows, stream, queues) = tokio::join!(state, rows, stream, queue.check());
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(state.err().map(|error| error.to_string()));
        wrong.extend(rows.err().map(|error| error.to_string()));
        let stream = match stream {
            Ok(stream) => {
                match stream.shards().await {
                    Ok(shards) if shards.is_empty() => wrong.push(format!("stream {}: it has no shards", aws.stream)),
                    Ok(_) | Err(StreamError::Throttled(_)) => {}
                    Err(error) => wrong.push(format!("stream {}: {error}", aws.stream)),
                }
                Some(stream)
            }
            Err(error) => {
                wrong.push(format!("stream {}: {error}", aws.stream));
                None
            }
        };
        wrong.extend(queues.into_iter().map(|(url, error)| format!("queue {url}: {error}")));
        match stream.filter(|_| wrong.is_empty()) {
            Some(stream) => {
                Ok(Self { parked: ParkedQueue::new(own, aws.parked_queue.as_str()), store, leases, stream, queue })
            }
            None => {
                let all = anyhow::anyhow!("{}", wrong.join("\n"));
                Err(Failure::failed(all.context("not everything that is needed can be used")))
            }
        }
    }
}
