//! Everything that an end-to-end run of the product needs, started together.

mod connect;
mod deliver;
mod prepare;
mod read;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use sessionwarden_machine::{
    ids::{AccountId, Now, SessionKey},
    scp::ScpSettings,
};
use sessionwarden_world::{Caller, StartSession, World};
use tokio::runtime::Runtime;

use self::deliver::Delivery;
pub use self::{connect::root, deliver::OpenShard};
use crate::{
    child::Server,
    dynamodb_local::dynamodb_local,
    in_process::{InProcess, dynamodb, kinesis, one_thread, quick_kinesis},
    python::{Access, ministack, moto},
    session_manager::{SessionManager, SessionManagerSettings},
};

/// The region of everything.
pub const REGION: &str = "eu-central-1";
/// The management account, which Sessionwarden runs in.
pub const MANAGEMENT: &str = "999988887777";
/// The role of Sessionwarden in each member account and in the log archive.
pub const ROLE: &str = "sessionwarden";
/// What that role's trust asks for.
pub const EXTERNAL_ID: &str = "the-external-id";
/// The name of the topic in the management account and in each member account.
pub const TOPIC: &str = "sessionwarden";
/// The name of the stream of events.
pub const STREAM: &str = "sessionwarden-events";
/// How often the model's time moves on and its events are delivered.
const DELIVER_EVERY: Duration = Duration::from_millis(100);

/// What answers for DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// dynoxide, in this process.
    InProcess,
    /// AWS's own DynamoDB Local.
    Local,
}

/// How an emulated AWS is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloudShape {
    /// Shards of the stream.
    pub shards: u16,
    /// Ordinary member accounts; the management account and the log archive come on top.
    pub members: usize,
    /// What answers for DynamoDB.
    pub tables: Tables,
    /// Whether the model's events reach the stream by themselves; otherwise by [`Cloud::deliver`].
    pub delivers: bool,
}

impl Default for CloudShape {
    /// Two shards, two members, tables in this process, events delivered.
    fn default() -> Self {
        Self { shards: 2, members: 2, tables: Tables::InProcess, delivers: true }
    }
}

/// A member account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub account: AccountId,
    /// An instance whose role may write session logs.
    pub logging: Arc<str>,
    /// An instance whose role may not.
    pub silent: Arc<str>,
}

/// URLs of the queues in the management account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrls {
    /// Wake-ups.
    pub wake_ups: String,
    /// Messages that are parked.
    pub parked: String,
    /// What the central topic is told.
    pub notifications: String,
}

/// An emulated AWS; it ends with this value.
#[derive(Debug)]
pub struct Cloud {
    // Ends before the servers that it calls.
    pump: Option<Runtime>,
    delivery: Arc<Delivery>,
    session_manager: SessionManager,
    kinesis: InProcess,
    tables: TableServer,
    ministack: Server,
    // Documents, behind the session manager.
    _moto: Server,
    members: Vec<Member>,
    queues: QueueUrls,
    access_policy: String,
    channel_policy: String,
}

#[derive(Debug)]
enum TableServer {
    InProcess(InProcess),
    Local(Server),
}

impl TableServer {
    fn url(&self) -> &str {
        match self {
            Self::InProcess(server) => &server.url,
            Self::Local(server) => &server.url,
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.shutdown_background();
        }
    }
}

impl Cloud {
    /// Starts and fills it; that takes some seconds, and minutes where the servers have to be installed first.
    ///
    /// # Errors
    /// What is missing, or which server refused what.
    pub async fn start(shape: CloudShape) -> anyhow::Result<Self> {
        let started = tokio::task::spawn_blocking(|| std::thread::scope(start_children)).await?;
        let (ministack, moto) = started.map_err(anyhow::Error::msg)?;
        let tables = match shape.tables {
            Tables::InProcess => TableServer::InProcess(dynamodb()?),
            Tables::Local => {
                TableServer::Local(tokio::task::spawn_blocking(dynamodb_local).await?.map_err(anyhow::Error::msg)?)
            }
        };
        let kinesis = kinesis(quick_kinesis())?;
        let ids = prepare::create_accounts(&ministack.url, shape.members).await?;
        let mut world = prepare::organisation(&ids);
        let filled = prepare::fill(&ministack.url, &mut world).await?;
        let world = Arc::new(Mutex::new(world));
        let management = ids[0];
        let settings = SessionManagerSettings {
            forward: Some(moto.url.clone()),
            sts: Some(ministack.url.clone()),
            ..SessionManagerSettings::new(management)
        };
        let session_manager = SessionManager::start(&world, settings)?;
        let mut cloud = Self {
            pump: None,
            delivery: Arc::new(Delivery::new(world, &kinesis.url, &ministack.url).await),
            session_manager,
            kinesis,
            tables,
            ministack,
            _moto: moto,
            members: filled.members,
            queues: filled.queues,
            access_policy: filled.access_policy,
            channel_policy: filled.channel_policy,
        };
        prepare::documents(&cloud).await?;
        cloud.delivery.create_stream(shape.shards).await?;
        let pump = one_thread()?;
        let (delivery, delivers) = (Arc::clone(&cloud.delivery), shape.delivers);
        pump.spawn(async move {
            loop {
                delivery.pass(delivers).await;
                tokio::time::sleep(DELIVER_EVERY).await;
            }
        });
        cloud.pump = Some(pump);
        Ok(cloud)
    }

    /// The ordinary member accounts.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The queues.
    pub fn queues(&self) -> &QueueUrls {
        &self.queues
    }

    /// The ids of the service control policies that deny access, and that close the channel as well. They bind nobody in
    /// the model.
    pub fn quarantine_policies(&self) -> [&str; 2] {
        [&self.access_policy, &self.channel_policy]
    }

    /// The server of sessions, for its faults and its count of calls.
    pub fn session_manager(&self) -> &SessionManager {
        &self.session_manager
    }

    /// The model of the organisation. Its time moves by itself; whoever holds this for long stops it.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.delivery.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session now, by a caller of a member account.
    ///
    /// # Errors
    /// The organisation refuses it; its event says so too.
    pub fn open(&self, caller: &Caller, request: &StartSession) -> anyhow::Result<SessionKey> {
        let mut world = self.world();
        world.advance_to(now());
        let opened = world.start_session(caller, request).context("StartSession")?;
        drop(world);
        self.delivery.watch_log(&opened);
        Ok(opened)
    }

    /// Somebody who may open sessions in an account.
    ///
    /// # Errors
    /// The account is not of the organisation.
    pub fn user(&self, account: AccountId) -> anyhow::Result<Arc<Caller>> {
        let world = self.world();
        let user = world.account(account).and_then(|account| account.users.first());
        user.map(Arc::clone).with_context(|| format!("{account} has no user"))
    }

    /// Puts the events that the organisation has emitted since into the stream, as `EventBridge` would.
    ///
    /// # Errors
    /// The stream refuses one.
    pub async fn deliver(&self) -> anyhow::Result<()> {
        self.delivery.deliver().await
    }
}

fn start_children<'scope>(scope: &'scope std::thread::Scope<'scope, '_>) -> Result<(Server, Server), String> {
    let moto = scope.spawn(moto);
    let ministack = ministack(Access::Checked)?;
    let moto = moto.join().map_err(|_| "moto could not be started".to_owned())??;
    Ok((ministack, moto))
}

/// What the service control policies of the organisation are rendered from.
pub fn scp_settings() -> ScpSettings {
    let default = ScpSettings::default();
    let own_roles = default.own_roles.iter().cloned().chain([ROLE.into()]).collect();
    ScpSettings { own_roles, ..default }
}

fn now() -> Now {
    Now(jiff::Timestamp::now().as_millisecond())
}
