//! Sessions as the model has them, through the calls of Systems Manager.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use sessionwarden::{
    aws::AwsOrganization,
    ports::{CallError, Sessions as _},
};
use sessionwarden_machine::{
    ids::{AccountId, Now, SessionKey},
    session::Life,
};
use sessionwarden_testbed::{Fault, SessionManager, SessionManagerSettings};
use sessionwarden_world::{LogFate, OrganisationShape, StartSession, World};

use super::{REGION, account, connect, settings};

const START: Now = Now(1_795_000_000_000);

/// A model with its server, and the account and region its sessions are in.
pub(crate) struct Stage {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) manager: SessionManager,
    pub(crate) member: AccountId,
    pub(crate) region: Arc<str>,
}

impl Stage {
    pub(crate) fn new(seed: u64, page: usize, lifetime: Duration) -> Self {
        let world = World::new(OrganisationShape::quick(), seed, START);
        let member = world.accounts().iter().find(|account| account.ordinary()).unwrap();
        let (member, region) = (member.id, Arc::clone(&member.machines().next().unwrap().region));
        let world = Arc::new(Mutex::new(world));
        let settings =
            SessionManagerSettings { page, lifetime, ..SessionManagerSettings::new(account(999_988_887_777)) };
        let manager = SessionManager::start(&world, settings).unwrap();
        Self { world, manager, member, region }
    }

    pub(crate) async fn hands(&self) -> AwsOrganization {
        connect("AKIA999988887777", &[("ssm", self.manager.url()), ("sts", self.manager.url())], settings()).await
    }

    pub(crate) fn open(&self, count: usize) -> Vec<SessionKey> {
        let mut world = self.world.lock().unwrap();
        let account = world.account(self.member).unwrap();
        let user = Arc::clone(&account.users[0]);
        let node = account.machines().find(|node| node.region == self.region).unwrap().id.clone();
        let request = StartSession {
            region: Arc::clone(&self.region),
            target: node,
            document: None,
            reason: Some(Arc::from("a ticket")),
            just_in_time: true,
            log: LogFate::Usual,
        };
        (0..count).map(|_| world.start_session(&user, &request).unwrap()).collect()
    }
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn what_lives_and_what_ended_is_told_with_one_chain_of_pages() {
    let stage = Stage::new(1, 4, HOUR);
    let opened = stage.open(30);
    let hands = stage.hands().await;
    let ended = &opened[..5];
    for key in ended {
        hands.terminate(key).await.unwrap();
        // Ending one that has ended is no error.
        hands.terminate(key).await.unwrap();
    }
    let mut wanted: BTreeSet<SessionKey> = opened.iter().cloned().collect();
    let stranger = SessionKey { id: Arc::from("nobody-0a"), ..opened[0].clone() };
    wanted.insert(stranger.clone());

    let lives = hands.describe(stage.member, &stage.region, &wanted).await.unwrap();

    assert_eq!(lives.len(), wanted.len());
    for (key, life) in &lives {
        let truth = stage.world.lock().unwrap().describe_session(key);
        match (life, truth) {
            (Life::Alive(told), Some(truth)) => {
                assert!(!ended.contains(key));
                assert_eq!((told.started_at, &told.owner), (truth.started, &truth.owner));
                assert_eq!((&told.target, &told.document), (&truth.target, &truth.document));
                assert_eq!((told.reason.as_deref(), &*told.access_type), (Some("a ticket"), "JustInTime"));
            }
            (Life::Ended(at), Some(truth)) => {
                assert!(ended.contains(key));
                assert_eq!(Some(*at), truth.ended);
            }
            // I11: a session that AWS does not know is neither alive nor over.
            (Life::Unknown, None) => assert_eq!(key, &stranger),
            other => panic!("{key}: {other:?}"),
        }
    }
    // 25 active sessions are seven pages of four; each of the six others is one call.
    assert_eq!(stage.manager.calls("DescribeSessions"), 7 + 6);
}

#[tokio::test]
async fn many_that_ended_cost_one_chain_through_the_history() {
    let stage = Stage::new(2, 50, HOUR);
    let opened = stage.open(120);
    let hands = stage.hands().await;
    for key in &opened {
        stage.world.lock().unwrap().exit_session(key);
    }
    let lives = hands.describe(stage.member, &stage.region, &opened.iter().cloned().collect()).await.unwrap();
    assert!(lives.values().all(|life| matches!(life, Life::Ended(_))));
    assert_eq!((lives.len(), stage.manager.calls("DescribeSessions")), (120, 1 + 3));
}

#[tokio::test]
async fn all_active_sessions_are_listed() {
    let stage = Stage::new(3, 7, HOUR);
    let opened: BTreeSet<SessionKey> = stage.open(20).into_iter().collect();
    let hands = stage.hands().await;
    let active = hands.active(stage.member, &stage.region).await.unwrap();
    assert_eq!(active.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), opened);
    assert_eq!(hands.active(stage.member, "ap-south-1").await.unwrap(), []);
    let gone = SessionKey { account: stage.member, region: Arc::from(REGION), id: Arc::from("nobody-0a") };
    assert_eq!(hands.terminate(&gone).await, Err(CallError::Gone));
}

/// I11: a call that fails halfway, or answers nonsense, is no list of sessions.
#[tokio::test]
async fn half_a_list_is_no_answer() {
    let stage = Stage::new(4, 3, HOUR);
    let opened = stage.open(9);
    let hands = stage.hands().await;
    let wanted: BTreeSet<SessionKey> = opened.into_iter().collect();
    for (faults, error) in [
        (vec![Fault::Code(400, "AccessDeniedException")], CallError::Denied),
        (vec![Fault::Code(400, "ThrottlingException"); 3], CallError::Throttled),
        (vec![Fault::Code(500, "InternalServerError"); 3], CallError::Unknown),
        (vec![Fault::Code(400, "InvalidFilterKey")], CallError::Unknown),
    ] {
        // The first page comes.
        assert!(hands.active(stage.member, &stage.region).await.is_ok());
        stage.manager.fail("DescribeSessions", &faults);
        assert_eq!(hands.active(stage.member, &stage.region).await, Err(error));
        stage.manager.fail("DescribeSessions", &faults);
        assert_eq!(hands.describe(stage.member, &stage.region, &wanted).await.unwrap_err(), error);
    }
    // What a repetition cures is not told.
    stage.manager.fail("DescribeSessions", &[Fault::Code(400, "ThrottlingException")]);
    assert_eq!(hands.active(stage.member, &stage.region).await.unwrap().len(), 9);
}
